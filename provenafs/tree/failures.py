"""The one table from what can go wrong below to the errno a file operation answers with."""

from __future__ import annotations

import errno

from provenafs.errors import FSError
from provenafs.provena import errors as provena
from provenafs.s3 import errors as s3

# First match wins: subclasses stand before their bases.
_ERRNO: tuple[tuple[type[Exception], int], ...] = (
    (provena.Unauthorised, errno.EACCES),
    (provena.NotFound, errno.ENOENT),
    (provena.Locked, errno.EACCES),
    (provena.Released, errno.EROFS),
    (provena.Invalid, errno.EINVAL),
    (provena.ProvenaError, errno.EIO),
    (s3.NoSuchKey, errno.ESTALE),
    (s3.PreconditionFailed, errno.ESTALE),
    (s3.AccessDenied, errno.EACCES),
    (s3.S3Error, errno.EIO),
)


def as_fs_error(error: Exception) -> FSError | None:
    """The answer to a failure the rooms below are known to have; None for any other."""
    if isinstance(error, FSError):
        return error
    if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        return as_fs_error(error.exceptions[0])
    for kind, number in _ERRNO:
        if isinstance(error, kind):
            return FSError(number, str(error))
    return None
