"""The lock file of a mount, which shows whether the owner of journal rows is alive."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from provenafs import private

UNOWNED = ""  # the owner of what a living mount has left to recovery


class MountLock:
    """The lock file held by a running mount."""

    def __init__(self, folder: Path) -> None:
        private.folder(folder)
        self.name = uuid.uuid4().hex
        self._path = folder / f"{self.name}.lock"
        self._file = private.open_locked(self._path)

    def release(self) -> None:
        """Let go of everything this owner has."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_alive(folder: Path, owner: str) -> bool:
    """Whether a mount holds this owner's lock."""
    return owner != UNOWNED and private.is_locked(folder / f"{owner}.lock")
