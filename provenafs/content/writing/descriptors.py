"""The process's file descriptors: raises the limit, and reserves some."""

from __future__ import annotations

import errno
import math
import resource
from collections import Counter

from provenafs.errors import FSError

# For requests to S3 and to the services, SQLite, logins, logs and what a read has open.
_RESERVE = 256
_OF_A_FILE = 2  # its staged bytes, and the log of what is local
_LEAST = 16  # files


def raise_limit() -> None:
    """Let this process have as many descriptors as it may: the soft limit becomes the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Writers:
    """The files that are open for writing, by inode: each may take descriptors at any moment."""

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        no_limit = soft == resource.RLIM_INFINITY
        self.most: float = math.inf if no_limit else max(_LEAST, (soft - _RESERVE) // _OF_A_FILE)
        self._handles: Counter[int] = Counter()

    def __contains__(self, ino: int) -> bool:
        return ino in self._handles

    def begin(self, ino: int) -> None:
        """A handle was opened."""
        self._handles[ino] += 1

    def end(self, ino: int) -> None:
        """A handle was released."""
        self._handles[ino] -= 1
        if not self._handles[ino]:
            del self._handles[ino]


def too_many() -> FSError:
    """ENFILE, in words."""
    message = (
        "as many files are being written as this process may have open: close some, or mount"
        " with a higher limit (ulimit -Hn)"
    )
    return FSError(errno.ENFILE, message)
