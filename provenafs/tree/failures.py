"""Maps the exceptions of the rooms below to the errno of a file operation."""

from __future__ import annotations

import errno

from provenafs.catalog.failures import service_failure
from provenafs.errors import FSError
from provenafs.provena.errors import ProvenaError
from provenafs.s3 import errors as s3

# First match wins: subclasses stand before their bases.
_ERRNO: tuple[tuple[type[Exception], int], ...] = (
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
    if isinstance(error, ProvenaError):
        return service_failure(error)
    for kind, number in _ERRNO:
        if isinstance(error, kind):
            return FSError(number, str(error))
    return None
