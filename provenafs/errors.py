"""The error with an errno that every room may raise and `fuse` replies with."""

from __future__ import annotations

import os


class FSError(Exception):
    """A file operation failed, with an errno and a message for the user.

    `errno` is what the kernel gets; `message` is one sentence for the log and for
    `.provena/last-error.txt`. It never holds a token, a key or a service's raw error text.
    """

    def __init__(self, errno: int, message: str = "") -> None:
        self.errno = errno
        self.message = message or os.strerror(errno)
        super().__init__(errno, self.message)

    def __str__(self) -> str:
        return self.message


class Transient(FSError):
    """A temporary failure: the same operation may succeed later."""
