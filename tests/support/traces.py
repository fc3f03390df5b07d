"""Reads of libraries as the mount saw them, after the kernel's page cache and read-ahead.

Recorded through a passthrough mount with the settings of ours, the files on the local disk, each
read delayed by 4 ms; with a read-ahead of 1 MiB, and of 128 KiB where the name says so.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parents[1] / "content" / "traces"
NAMES = sorted(path.stem for path in _FOLDER.glob("*.csv"))


class TracedRead(NamedTuple):
    """One request of the kernel: the file's name and size, an open handle, offset and length."""

    file: str
    size: int
    handle: int
    offset: int
    length: int


def trace(name: str) -> list[TracedRead]:
    """The reads of a trace, in the order in which they came."""
    with (_FOLDER / f"{name}.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [TracedRead(row[0], *map(int, row[1:])) for row in rows]
