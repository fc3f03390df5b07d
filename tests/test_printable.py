"""Texts of others on a line of the log, of the terminal, of a small file."""

from __future__ import annotations

import json
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from provenafs.cli.app import _report
from provenafs.cli.output import print_json, say
from provenafs.fuse.mountpoint import MountError
from provenafs.printable import LineFormatter, is_printable, printable
from provenafs.tree.last_error import LastErrorFile

HOSTILE = {
    "escape": "\x1b]0;owned\x07",
    "clear": "\x1b[2J",
    "line": "one\n2026-01-01 00:00:00 INFO provenafs: all is well",
    "return": "hidden\rshown",
    "c1": "\x9b31m",
    "delete": "\x7f",
    "override": "gnp.\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "mark": "\u200fx",
    "separator": "a\u2028b",
    "surrogate": "\udcff",
}
FINE = "Größe 温度 שלום é 🐧 'x' \"y\" \\"


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> str:
    return HOSTILE[request.param]


def assert_shown_escaped(text: str, hostile: str) -> None:
    assert hostile not in text
    assert text.rstrip("\n").isprintable(), ascii(text)


def test_what_is_fine_stays() -> None:
    assert printable(FINE) == FINE
    assert is_printable(FINE)


def test_on_the_terminal(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Open {hostile}")
    assert_shown_escaped(capsys.readouterr().out, hostile)
    assert not is_printable(hostile)


def test_as_a_failure(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    _report(MountError(hostile))
    assert_shown_escaped(capsys.readouterr().err, hostile)


def test_in_json_it_means_the_same(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json([hostile, FINE])
    printed = capsys.readouterr().out
    assert hostile not in printed
    assert printed.replace("\n", "").isprintable()
    assert json.loads(printed) == [hostile, FINE]


def formatted(message: str, **options: Any) -> str:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "key %s", (message,), None)
    record.__dict__.update(options)
    return LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s").format(record)


def test_in_the_log(hostile: str) -> None:
    assert_shown_escaped(formatted(hostile), hostile)


def test_in_a_traceback_of_the_log(hostile: str) -> None:
    try:
        raise ValueError(hostile)
    except ValueError:
        lines = formatted("x", exc_info=sys.exc_info()).splitlines()
    assert lines[0].endswith("key x")
    assert all(line.startswith("  ") and line.isprintable() for line in lines[1:])
    assert lines[-1].startswith("  ValueError" if "\n" not in hostile else "  ")


async def test_in_last_error(hostile: str) -> None:
    context: Any = SimpleNamespace(last_errors={"d": f"{hostile}: was refused"})
    text = (await LastErrorFile(context, 1, "d").content()).decode()
    assert_shown_escaped(text, hostile)
