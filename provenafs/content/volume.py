"""The write side of one dataset's object tree."""

from __future__ import annotations

import errno
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from provenafs.content.drive import Drive
from provenafs.errors import FSError
from provenafs.s3.api import WriterApi

_MAX_NAME_BYTES = 255
_MAX_KEY_BYTES = 1024
# Names editors give to files that are renamed or removed in a moment: swap files of vim and its
# probes, backups, lock files of emacs, and the new file of sed -i: six random letters and digits,
# of which one in capitals distinguishes it from a file called sediments.
_SCRATCH = re.compile(r"\..*\.sw.x?|4913|.*~|\.#.*|sed(?=.*[A-Z])[A-Za-z0-9]{6}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Volume:
    """A drive that can be changed.

    `dataset` names it in the journal. `may_write` is asked before a change is begun and before
    bytes are published; it raises FSError (EACCES, EROFS) when the dataset may not be changed.
    """

    drive: Drive
    writer: WriterApi
    dataset: str
    may_write: Callable[[], Awaitable[None]]

    def check_new(self, key: str) -> None:
        """FSError where there can be no such file: ENAMETOOLONG; EPERM for the server's own."""
        if key == f"{self.drive.prefix}metadata.json":
            message = "metadata.json here belongs to the data store: edit the dataset's instead"
            raise FSError(errno.EPERM, message)
        if len(key.rpartition("/")[2].encode()) > _MAX_NAME_BYTES:
            raise FSError(errno.ENAMETOOLONG, "names are limited to 255 bytes")
        check_length(key)


def check_length(key: str) -> None:
    """ENAMETOOLONG where no object can have this key."""
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise FSError(errno.ENAMETOOLONG, "S3 keys are limited to 1024 bytes")


def is_scratch(name: str) -> bool:
    """Whether a file of this name stays on this machine until it is renamed."""
    return _SCRATCH.fullmatch(name) is not None
