"""What verbs print of values that no service should send."""

from __future__ import annotations

from pathlib import Path

import pytest

from provenafs.cli.live import pending, status_of
from provenafs.cli.metadata import _editable
from provenafs.cli.output import local_time, when
from provenafs.cli.target import Target
from provenafs.config import ConfigError

STATUS = (
    '{"pid": 1, "profile": "p", "user": "u", "datastore": "d", "read_only": false, "started": 1.5}'
)


@pytest.mark.parametrize(
    ("timestamp", "words"),
    [
        (1717000000, "2024-05-29 16:26:40 UTC"),
        (-1, "1969-12-31 23:59:59 UTC"),
        (1_717_000_000_000, "after the year 9999"),
        (10**300, "after the year 9999"),
        (float("inf"), "after the year 9999"),
        (-1e300, "no date"),
        (float("nan"), "no date"),
    ],
)
def test_every_time_has_words(timestamp: float, words: str) -> None:
    assert when(timestamp) == words
    assert local_time(timestamp)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "[]", "3", "{}", '{"pid": "x"}'])
def test_a_mount_that_tells_nonsense_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".provenafs").mkdir()
    for name in ("status.json", "pending.json"):
        (tmp_path / ".provenafs" / name).write_text(text)
    assert status_of(tmp_path) == {}
    assert pending(tmp_path) == []


def test_a_mount_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    (tmp_path / ".provenafs").mkdir()
    (tmp_path / ".provenafs/status.json").write_text(STATUS)
    (tmp_path / ".provenafs/pending.json").write_text(
        '[1, {"size": "x"}, {"size": 2, "sent": 1, "key": "k", "state": "s"}]'
    )
    assert status_of(tmp_path)["pid"] == 1
    assert [row["key"] for row in pending(tmp_path)] == ["k"]


def test_links_in_a_loop_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match=r"form a loop|neither a handle"):
        Target.parse(str(tmp_path / "a"))


@pytest.mark.parametrize(("value", "shown"), [("é", "é"), ("\ud800", "\\ud800")])
def test_any_record_can_be_edited(value: str, shown: str) -> None:
    text = _editable({"name": value})
    assert shown in text
    assert text.encode()
