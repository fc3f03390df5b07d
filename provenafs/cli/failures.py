"""Maps failures to a sentence on stderr and an exit status."""

from __future__ import annotations

import errno
import sqlite3
import traceback
from enum import IntEnum

from provenafs.config import ConfigError
from provenafs.errors import FSError
from provenafs.fuse.mountpoint import MountError
from provenafs.provena.errors import (
    Invalid,
    Locked,
    LoginRequired,
    NotFound,
    ProvenaError,
    Released,
    Unauthorised,
    Unavailable,
)
from provenafs.s3 import errors as s3
from provenafs.sandbox.errors import SandboxError


class ExitStatus(IntEnum):
    """The exit statuses of every verb."""

    OK = 0
    FAILED = 1
    """Any other failure."""
    USAGE = 2
    """Usage or configuration error."""
    LOGIN = 3
    """Nobody is logged in, or the login has expired."""
    NOT_FOUND = 4
    """No such dataset, version or file."""
    REFUSED = 5
    """Not allowed: a missing role, a lock, a release."""
    UNAVAILABLE = 6
    """A service gave no usable response in time."""
    INVALID = 7
    """The service rejected the request as invalid."""
    INTERNAL = 70
    """Internal error."""
    INTERRUPTED = 130


# First match wins: subclasses stand before their bases.
_STATUS: tuple[tuple[type[BaseException], ExitStatus], ...] = (
    (KeyboardInterrupt, ExitStatus.INTERRUPTED),
    (ConfigError, ExitStatus.USAGE),
    (LoginRequired, ExitStatus.LOGIN),
    (NotFound, ExitStatus.NOT_FOUND),
    (Unauthorised, ExitStatus.REFUSED),
    (Locked, ExitStatus.REFUSED),
    (Released, ExitStatus.REFUSED),
    (Unavailable, ExitStatus.UNAVAILABLE),
    (Invalid, ExitStatus.INVALID),
    (ProvenaError, ExitStatus.FAILED),
    (MountError, ExitStatus.FAILED),
    (s3.NoSuchKey, ExitStatus.NOT_FOUND),
    (s3.AccessDenied, ExitStatus.REFUSED),
    (s3.Unavailable, ExitStatus.UNAVAILABLE),
    (s3.S3Error, ExitStatus.FAILED),
    (SandboxError, ExitStatus.FAILED),
)
_ERRNO_STATUS = {
    errno.ENOENT: ExitStatus.NOT_FOUND,
    errno.ESTALE: ExitStatus.NOT_FOUND,
    errno.EACCES: ExitStatus.REFUSED,
    errno.EPERM: ExitStatus.REFUSED,
    errno.EROFS: ExitStatus.REFUSED,
    errno.EINVAL: ExitStatus.INVALID,
}


def explain(error: BaseException) -> tuple[ExitStatus, str]:
    """The exit status and the one sentence for a failure."""
    error = first_of(error)
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status, str(error) or "interrupted"
    if isinstance(error, FSError):
        return _ERRNO_STATUS.get(error.errno, ExitStatus.FAILED), error.message
    if isinstance(error, OSError):
        path = f"{error.filename}: " if error.filename else ""
        status = _ERRNO_STATUS.get(error.errno or 0, ExitStatus.FAILED)
        return status, f"{path}{error.strerror or 'the operation failed'}"
    if isinstance(error, sqlite3.Error):
        return ExitStatus.FAILED, f"a database of provenafs cannot be used: {error}"
    return ExitStatus.INTERNAL, _internal(error)


def first_of(error: BaseException) -> BaseException:
    """The failure inside the groups that nurseries wrap around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _internal(error: BaseException) -> str:
    # Not the exception's text, which nobody has filtered.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return (
        f"internal error: {type(error).__name__}{place};"
        " run again with PROVENAFS_TRACEBACK=1 to see where it comes from"
    )
