"""Output of subcommands: JSON, tables on a terminal, tab-separated lines in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from provenafs.printable import printable, printable_json
from provenafs.provena.records import LATEST_S


def say(text: str) -> None:
    """Print one line that may quote foreign text."""
    print(printable(text), flush=True)


def print_json(document: Any) -> None:
    """Print JSON."""
    print(printable_json(json.dumps(document, indent=2, ensure_ascii=False)))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns on a terminal; in a pipe one line each, without a heading."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in cells:
            print("\t".join(line))
        return
    # Only a terminal pays for the import.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE)
    for line in cells:
        table.add_row(*map(Text, line))
    Console().print(table)


def print_fields(fields: dict[str, object]) -> None:
    """Print names with their values, those that have one, a line each."""
    known = {name: value for name, value in fields.items() if value not in (None, "", [])}
    width = max(map(len, known), default=0) + 1
    for name, value in known.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        print(f"{name.replace('_', ' ') + ':':<{width}} {printable(shown)}")


def print_outcome(as_json: bool, sentence: str, **facts: object) -> None:
    """Report the outcome: a sentence, or JSON."""
    if as_json:
        print_json(facts)
    else:
        print(printable(sentence))


def when(timestamp: float) -> str:
    """A time, in seconds since the epoch, for people; a placeholder if it is no date."""
    return _date(timestamp, UTC, " UTC")


def local_time(timestamp: float) -> str:
    """A time, in seconds since the epoch, in local time; a placeholder if it is no date."""
    return _date(timestamp, None, "")


def _date(timestamp: float, zone: tzinfo | None, suffix: str) -> str:
    if timestamp >= LATEST_S:  # a record's time in milliseconds, for instance
        return "after the year 9999"
    try:
        return datetime.fromtimestamp(timestamp, zone).strftime("%Y-%m-%d %H:%M:%S") + suffix
    except (OverflowError, ValueError, OSError):
        return "no date"
