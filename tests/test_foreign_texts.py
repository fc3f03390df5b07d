"""No text of another side keeps the event loop waiting: whatever reads one is linear in its length.

The watchdog counts the processor's time, not the clock's, and is generous: what is quadratic takes
minutes for these texts.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

import provenafs
from provenafs.catalog.citation import citation_cff
from provenafs.catalog.crate import ro_crate_metadata
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.description import address, web_address
from provenafs.catalog.saving import parse
from provenafs.errors import FSError
from provenafs.printable import printable
from provenafs.provena.errors import ProvenaError
from provenafs.provena.handles import handle_of, has_name, reads_as_handle
from provenafs.provena.reading import parse_json
from provenafs.provena.records import DatasetRecord
from provenafs.provena.tokens import claims, is_token
from provenafs.provena.transport import filtered, one_line
from provenafs.tree.names import escape

MIB = 1024**2
WATCHDOG_S = 10.0
PIECES = (
    "a", "0", " ", "/", ".", "%", "@", "<", "(", '"', "\x00", "A1/+", "key", "key=", "eyJ", "AKIA",
    "a.", "1.", "0-", "a@a.", "<Code>", "https://", "[1,", "é",
)  # fmt: skip
TEXTS = {piece: piece * (MIB // len(piece)) for piece in PIECES}


class TooSlow(BaseException):
    """What is watched takes too long."""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raise TooSlow in what uses more of the processor; the engine of `re` looks for signals."""

    def bark(_: int, __: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, bark)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _patterns() -> Iterator[Any]:
    """Each compiled expression of the package with each way in which its module uses it."""
    for module in pkgutil.walk_packages(provenafs.__path__, "provenafs."):
        loaded = importlib.import_module(module.name)
        source = inspect.getsource(loaded)
        for name, pattern in vars(loaded).items():
            if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
                ways = set(re.findall(rf"\b{re.escape(name)}\.(\w+)\(", source)) - {"groupindex"}
                for way in sorted(ways):
                    # The text may follow a replacement.
                    before = [""] if way in ("sub", "subn") else []
                    use = getattr(pattern, way)
                    yield pytest.param(use, before, id=f"{module.name}.{name}.{way}")


@pytest.mark.parametrize(("use", "before"), list(_patterns()))
def test_every_expression_is_linear(use: Callable[..., Any], before: list[str]) -> None:
    for text in TEXTS.values():
        with watchdog(WATCHDOG_S):
            use(*before, text + "!")


def _described(text: str) -> None:
    """A dataset that says the same in every place."""
    text = text[: MIB // 8]
    information = dict.fromkeys(
        ("name", "description", "license", "publisher_id", "rights_holder", "preferred_citation"),
        text,
    )
    item = {
        "id": "10378.1/1",
        "display_name": text,
        "owner_username": text,
        "created_timestamp": 1,
        "updated_timestamp": 1,
        "s3": {"bucket_name": "b", "path": "p/"},
        "collection_format": {
            "associations": dict.fromkeys(
                ("organisation_id", "point_of_contact", "data_custodian_id"), text
            ),
            "dataset_info": {**information, "keywords": [text], "formats": text},
        },
    }
    dataset = Dataset(DatasetRecord.from_item(item), frozenset(), False, 0.0)
    assert citation_cff(dataset)
    assert ro_crate_metadata(dataset)


FILTERS: tuple[Callable[[str], Any], ...] = (
    filtered, one_line, printable, escape, has_name, handle_of, reads_as_handle, is_token, claims,
    address, web_address, parse_json, lambda text: parse(text.encode()), _described,
    lambda text: parse(json.dumps({"dataset_info": {"name": text}}).encode()),
)  # fmt: skip


@pytest.mark.parametrize("read", FILTERS)
def test_every_filter_and_parser_is_linear(read: Callable[[str], Any]) -> None:
    for text in TEXTS.values():
        # What is refused is refused in time.
        with watchdog(WATCHDOG_S), suppress(ValueError, FSError, ProvenaError):
            read(text)


def test_the_cut_of_a_long_text_leaves_no_half_of_a_secret() -> None:
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYaa"
    for length in range(1900, 2010):
        text = "the keys were " + "x " * (length // 2) + f"{secret} and so on" + " y" * 2000
        assert secret[:8] not in filtered(text)
    assert filtered(f"keys {secret} {secret}") == "keys … …"
    assert filtered(f"token={secret[:20]}") == "…"
    assert len(filtered("word " * 1000)) <= 500
