"""Each row of the table of error codes, as a bucket meets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provenafs.s3 import errors
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.error_codes import CURES, Cure
from provenafs.s3.types import Credentials, CredentialScope
from tests.support.scripted_s3 import answer, failure, part, scripted

# What is raised in the end, and how many requests are made before a good answer is taken.
_KINDS: dict[Cure, tuple[type[errors.S3Error], bool]] = {
    Cure.RETRY: (errors.Unavailable, True),
    Cure.SLOW_DOWN: (errors.Unavailable, True),
    Cure.REFRESH: (errors.AccessDenied, True),
    Cure.REFUSED: (errors.AccessDenied, False),
    Cure.STALE: (errors.PreconditionFailed, False),
    Cure.GONE: (errors.NoSuchKey, False),
    Cure.SKEWED: (errors.ClockSkewed, False),
    Cure.BROKEN: (errors.S3Error, False),
}
# As AWS documents it, where it is not 400.
_STATUS = {
    Cure.RETRY: "500 Internal Server Error",
    Cure.SLOW_DOWN: "503 Slow Down",
    Cure.STALE: "412 Precondition Failed",
    Cure.GONE: "404 Not Found",
    Cure.REFUSED: "403 Forbidden",
}
_OK = part(b"0123456789")


async def _read(address: str, io_timeout: float) -> tuple[S3Context, list[str | None], Exception]:
    """Read with a service; what the keys were asked for, and what was raised."""
    asked: list[str | None] = []

    async def keys(access: CredentialScope, rejected: Credentials | None) -> Credentials:
        asked.append(None if rejected is None else rejected.access_key_id)
        return Credentials(f"KEY-{len(asked)}", "s", "t", datetime.now(UTC) + timedelta(hours=1))

    service = S3Context(address, io_timeout)
    service.regions["b"] = "us-east-1"
    error: Exception = AssertionError("nothing was raised")
    try:
        await Bucket("b", keys, service).read_range("k", 0, 10, '"e"', size=1000)
    except errors.S3Error as raised:
        error = raised
    return service, asked, error


@pytest.mark.parametrize(("code", "cure"), CURES.items())
async def test_each_code_has_its_cure(
    code: str, cure: Cure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenafs.s3.calls._FIRST_PAUSE_S", 0.0)
    kind, is_tried_again = _KINDS[cure]
    reply = failure(_STATUS.get(cure, "400 Bad Request"), code)
    with scripted([reply, _OK]) as server:
        service, asked, error = await _read(server.address, 10)
    assert len(server.requests) == 1 + is_tried_again
    assert asked == ([None, "KEY-1"] if cure is Cure.REFRESH else [None] * len(server.requests))
    most = S3Context(server.address, 10).reads.total_tokens
    assert (service.reads.total_tokens < most) is (cure is Cure.SLOW_DOWN)
    if not is_tried_again:
        assert type(error) is kind
        assert "SECRET" not in str(error)


@pytest.mark.parametrize("cure", [Cure.RETRY, Cure.SLOW_DOWN, Cure.REFRESH])
async def test_what_does_not_help_is_told_in_the_end(cure: Cure) -> None:
    code = next(code for code, each in CURES.items() if each is cure)
    with scripted([failure(_STATUS.get(cure, "400 Bad Request"), code)]) as server:
        _, _, error = await _read(server.address, 0.3)
    assert type(error) is _KINDS[cure][0]


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (400, Cure.BROKEN),  # not EACCES
        (401, Cure.REFRESH),
        (403, Cure.REFRESH),
        (404, Cure.BROKEN),  # of a proxy, maybe: S3 says NoSuchKey
        (405, Cure.BROKEN),
        (408, Cure.RETRY),
        (409, Cure.STALE),
        (412, Cure.STALE),
        (416, Cure.STALE),
        (418, Cure.BROKEN),
        (429, Cure.SLOW_DOWN),
        (500, Cure.RETRY),
        (501, Cure.BROKEN),
        (502, Cure.RETRY),
        (503, Cure.SLOW_DOWN),
        (599, Cure.RETRY),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>no</body></html>",
        b"<Error><Code>Nobody",
        b"<Error><Code>A</Code><Code>NoSuchKey</Code></Error>",
        b"<Error><Code>" + b"x" * 1000 + b"</Code></Error>",
        b"\xff\xfe<\0E\0",
        b'<!DOCTYPE x [<!ENTITY a "a">]><Error><Code>NoSuchKey</Code></Error>',
    ],
)
async def test_without_a_code_the_status_decides(
    status: int, cure: Cure, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenafs.s3.calls._FIRST_PAUSE_S", 0.0)
    kind, is_tried_again = _KINDS[cure]
    with scripted([answer(f"{status} x", body), _OK]) as server:
        _, _, error = await _read(server.address, 10)
    assert len(server.requests) == 1 + is_tried_again
    if not is_tried_again:
        assert type(error) is kind


@pytest.mark.parametrize(
    ("status", "bucket_status", "kind"),
    [
        ("404 x", "200 OK", errors.NoSuchKey),
        ("404 x", "403 x", errors.NoSuchKey),  # it may be there
        ("404 x", "404 x", errors.S3Error),
        ("400 x", "400 x", errors.S3Error),
        ("403 x", "403 x", errors.AccessDenied),
    ],
)
async def test_a_head_has_no_code_but_its_status(
    status: str, bucket_status: str, kind: type[Exception]
) -> None:
    """A second request asks with other keys, or after a 404 for the bucket."""

    async def keys(access: CredentialScope, rejected: Credentials | None) -> Credentials:
        return Credentials("k", "s", "t", datetime.now(UTC) + timedelta(hours=1))

    with scripted([answer(status), answer(bucket_status)]) as server:
        service = S3Context(server.address, 5)
        service.regions["b"] = "us-east-1"
        with pytest.raises(errors.S3Error) as raised:
            await Bucket("b", keys, service).head("k")
    assert type(raised.value) is kind
    assert len(server.requests) == 2
