"""Progress lines on stderr: on a terminal only, and gone when the work is done."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)


def progress_of_bytes() -> Progress:
    """A line that counts bytes."""
    return _progress(DownloadColumn(binary_units=True), TransferSpeedColumn())


def progress_of_files() -> Progress:
    """A line that counts files."""
    return _progress(MofNCompleteColumn())


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
