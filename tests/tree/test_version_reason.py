"""The reason for a new version, as it is written to `versions/create`."""

from __future__ import annotations

import pytest

from provenafs.provena.errors import Invalid
from provenafs.tree.version_maker import _first_line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\ufeffnew  gauges\r\nmore", "new gauges"),
        ("👩\u200d🔬 را می\u200cخواهم", "👩\u200d🔬 را می\u200cخواهم"),
        ("\n\n", ""),
    ],
)
def test_it_is_the_first_line(text: str, reason: str) -> None:
    assert _first_line(text.encode()) == reason


@pytest.mark.parametrize("text", [b"a\x1b[2Jb", b"a\x00b", "a\u202eb".encode(), b"\xff"])
def test_it_is_text(text: bytes) -> None:
    with pytest.raises(Invalid):
        _first_line(text)
