"""Failures of the service reach the rooms that know no service as errors of file operations."""

from __future__ import annotations

import errno

import pytest

from provenafs.catalog.failures import as_file_errors
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


@pytest.mark.parametrize(
    ("failure", "number", "may_pass"),
    [
        (Unauthorised, errno.EACCES, False),
        (LoginRequired, errno.EACCES, True),
        (NotFound, errno.ENOENT, False),
        (Locked, errno.EACCES, False),
        (Released, errno.EROFS, False),
        (Invalid, errno.EINVAL, False),
        (Unavailable, errno.EIO, True),
        (ProvenaError, errno.EIO, False),
    ],
)
def test_every_failure_has_an_errno(
    failure: type[ProvenaError], number: int, may_pass: bool
) -> None:
    with pytest.raises(FSError) as caught, as_file_errors():
        raise failure("in words")
    assert (caught.value.errno, str(caught.value)) == (number, "in words")
    assert isinstance(caught.value, Transient) == may_pass
