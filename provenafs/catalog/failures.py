"""Maps failures of the services to errors of file operations."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from provenafs.errors import FSError, Transient
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

# First match wins: subclasses stand before their bases.
_ANSWERS: tuple[tuple[type[ProvenaError], type[FSError], int], ...] = (
    (LoginRequired, Transient, errno.EACCES),
    (Unavailable, Transient, errno.EIO),
    (Unauthorised, FSError, errno.EACCES),
    (NotFound, FSError, errno.ENOENT),
    (Locked, FSError, errno.EACCES),
    (Released, FSError, errno.EROFS),
    (Invalid, FSError, errno.EINVAL),
    (ProvenaError, FSError, errno.EIO),
)


def service_failure(error: ProvenaError) -> FSError:
    """The file operation's error for a failure of the service."""
    kind, number = next(answer[1:] for answer in _ANSWERS if isinstance(error, answer[0]))
    return kind(number, str(error))


@contextmanager
def as_file_errors() -> Iterator[None]:
    """Raise failures of the service as FSError; Transient where the same may succeed later."""
    try:
        yield
    except ProvenaError as error:
        raise service_failure(error) from error
