"""Rejected texts, kept on this machine so that they need not be written again."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from provenafs import private
from provenafs.guard import in_thread
from provenafs.provena.handles import directory_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RejectedText:
    """One kept text: size in bytes, mtime in nanoseconds since the epoch."""

    name: str
    size: int
    mtime_ns: int


class Rejected:
    """The folder of kept texts, one folder in it for each dataset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, handle: str, text: bytes) -> None:
        """Keep a text under the time; the same text as the last one is kept once.

        A disk error is only logged: the caller reports the failure of the save.
        """
        try:
            await in_thread(self._keep, self._of(handle), text)
        except OSError as error:
            log.error("the rejected metadata of %s could not be kept: %s", handle, error.strerror)

    async def texts(self, handle: str) -> list[RejectedText]:
        """The rejected texts of a dataset, oldest first."""
        return await in_thread(_texts, self._of(handle))

    async def read(self, handle: str, name: str) -> bytes:
        """One kept text; raises OSError if it is gone."""
        return await in_thread((self._of(handle) / name).read_bytes)

    def _of(self, handle: str) -> Path:
        return self._folder / directory_name(handle)

    def _keep(self, folder: Path, text: bytes) -> None:
        private.folder(folder)
        kept = _texts(folder)
        if kept and (folder / kept[-1].name).read_bytes() == text:
            return
        descriptor = _create(folder, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)


def _create(folder: Path, timestamp: str) -> int:
    number = 1
    while True:
        suffix = "" if number == 1 else f".{number}"
        path = folder / f"{timestamp}{suffix}-metadata.json"
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            number += 1


def _texts(folder: Path) -> list[RejectedText]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return []
    texts = [RejectedText(name, status.st_size, status.st_mtime_ns) for name, status in found]
    return sorted(texts, key=lambda text: (text.mtime_ns, text.name))
