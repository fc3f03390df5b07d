"""The lock file of a mount: which rows of the journal are still somebody's."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from provenafs import private

UNOWNED = ""  # the owner of what a living mount has left to recovery


class MountLock:
    """The lock file that says which mount is alive."""

    def __init__(self, folder: Path) -> None:
        private.folder(folder)
        self.name = uuid.uuid4().hex
        self._path = folder / f"{self.name}.lock"
        self._file = private.open_file(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let go of everything this owner has."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_alive(folder: Path, owner: str) -> bool:
    """Whether a mount holds this owner's lock."""
    if owner == UNOWNED:
        return False
    try:
        file = private.open_file(folder / f"{owner}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared: of two who look at once, neither is to take the other for the owner.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
