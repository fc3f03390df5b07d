"""Which exit status and sentence a failure gets."""

from __future__ import annotations

import errno

import pytest

from provenafs.cli.failures import ExitStatus, explain
from provenafs.config import ConfigError
from provenafs.errors import FSError
from provenafs.provena.errors import Invalid, Locked, LoginRequired, NotFound, Unavailable


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), ExitStatus.USAGE),
        (LoginRequired("x"), ExitStatus.LOGIN),
        (NotFound("x"), ExitStatus.NOT_FOUND),
        (Locked("x"), ExitStatus.REFUSED),
        (Unavailable("x", 503), ExitStatus.UNAVAILABLE),
        (Invalid("x"), ExitStatus.INVALID),
        (FSError(errno.EROFS, "x"), ExitStatus.REFUSED),
        (OSError(errno.ENOSPC, "x"), ExitStatus.FAILED),
        (ExceptionGroup("", [ExceptionGroup("", [NotFound("x")])]), ExitStatus.NOT_FOUND),
    ],
)
def test_the_status_tells_the_kind(error: Exception, status: ExitStatus) -> None:
    assert explain(error) == (status, "x")


def test_a_fault_of_ours_shows_no_text_of_unknown_content() -> None:
    status, sentence = explain(ValueError("secret"))
    assert status == ExitStatus.INTERNAL
    assert "secret" not in sentence
    assert "ValueError" in sentence
