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

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        content = file.read()
        # A last line that was cut off, by a full disk or a crash, is of an upload without parts.
        self._end = content.rfind(b"\n") + 1
        self._cut()
        lines = content[: self._end].splitlines()
        self.left_behind: list[tuple[str, str]] = [
            (key, upload_id) for key, upload_id in map(json.loads, lines)
        ]

    def begun(self, key: str, upload_id: str) -> None:
        """Note an upload before its first part is sent. Raises OSError, and then notes nothing."""
        line = f"{json.dumps([key, upload_id])}\n".encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # The next line must not be joined with half of this one.
            self._cut()
            raise
        self._end += len(line)

    def _cut(self) -> None:
        self._file.truncate(self._end)
        self._file.seek(self._end)


@contextmanager
def unfinished(path: Path) -> Iterator[Unfinished]:
    """Hold the file at `path`, which goes when all went well; FSError(EBUSY) if another does."""
    private.folder(path.parent)
    try:
        descriptor = private.open_locked(path)
    except BlockingIOError:
        message = "another process on this machine is copying into the same dataset"
        raise FSError(errno.EBUSY, message) from None
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        yield Unfinished(file)
        path.unlink(missing_ok=True)
