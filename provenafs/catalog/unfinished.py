"""A log of the multipart uploads of copies, so that those of a killed copy can be aborted.

A bucket's list of uploads names no owner, so it cannot distinguish them from those of others.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from provenafs import private
from provenafs.errors import FSError


class Unfinished:
    """The uploads into one dataset that are under way, by key and id; one copy has them at a time.

    Finished ones stay named until the end: to give them up then does nothing.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        file.seek(0)
        self.left_behind: list[tuple[str, str]] = [
            (key, upload_id) for key, upload_id in map(json.loads, _whole_lines(file))
        ]

    def begun(self, key: str, upload_id: str) -> None:
        """Note an upload before its first part is sent."""
        self._file.write(json.dumps([key, upload_id]) + "\n")
        self._file.flush()


@contextmanager
def unfinished(path: Path) -> Iterator[Unfinished]:
    """Hold the file at `path`, which goes when all went well; FSError(EBUSY) if another does."""
    private.folder(path.parent)
    try:
        descriptor = private.open_locked(path)
    except BlockingIOError:
        message = "another process on this machine is copying into the same dataset"
        raise FSError(errno.EBUSY, message) from None
    with os.fdopen(descriptor, "a+") as file:
        yield Unfinished(file)
        path.unlink(missing_ok=True)


def _whole_lines(file: IO[str]) -> list[str]:
    """Without a last one that was cut off."""
    return [line for line in file if line.endswith("\n")]
