"""What a bucket makes of a server's bad days."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio
import trio.testing

from provenafs.s3 import errors
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.pace import Pace
from provenafs.s3.types import Credentials, CredentialScope
from provenafs.s3.writing import ObjectWriter
from tests.support.scripted_s3 import answer, failure, part, scripted

_EMPTY_PAGE = answer(
    "200 OK", b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
)
_OK_PART = part(b"0123456789")
_SERVER_TIME = "<ServerTime>2020-01-01T00:00:00Z</ServerTime>"


class _Keys:
    """A credential source that counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def __call__(self, access: CredentialScope, rejected: Credentials | None) -> Credentials:
        self.asked.append(None if rejected is None else rejected.access_key_id)
        number = sum(1 for each in self.asked if each)
        expires = datetime.now(UTC) + timedelta(hours=1)
        return Credentials(f"KEY-{number}", "TOP-SECRET", "TOKEN-SECRET", expires)


def _bucket(address: str, keys: _Keys | None = None, io_timeout: float = 0.6) -> Bucket:
    service = S3Context(address, io_timeout)
    service.regions["b"] = "us-east-1"
    return Bucket("b", keys or _Keys(), service)


_READS: dict[str, Callable[[Bucket], Awaitable[object]]] = {
    "list": lambda bucket: bucket.list("p/"),
    "head": lambda bucket: bucket.head("k"),
    "read": lambda bucket: bucket.read_range("k", 0, 10, '"e"', size=1000),
}
every_read = pytest.mark.parametrize("name", _READS)


async def test_a_part_without_an_etag_is_sent_again() -> None:
    replies = [answer("200 OK"), answer("200 OK", ETag='"e"')]
    with scripted(replies) as server:
        part = await ObjectWriter(_bucket(server.address, io_timeout=5)).upload_part(
            "k", "an/id", 7, b"body"
        )
    assert part.etag == '"e"'
    assert [head.split(b" ")[1] for head in server.requests] == [
        b"/b/k?partNumber=7&uploadId=an%2Fid"
    ] * 2


@every_read
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failure("503 Slow Down", "SlowDown"), errors.Unavailable),
        (failure("500 Internal Server Error", "InternalError"), errors.Unavailable),
        (answer("502 Bad Gateway", b"<html>"), errors.Unavailable),
        (b"", errors.Unavailable),
        (b"hello\r\n\r\n", errors.Unavailable),
        (failure("404 Not Found", "NoSuchKey"), errors.NoSuchKey),
        (failure("403 Forbidden", "AccessDenied"), errors.AccessDenied),
        (failure("412 Precondition Failed", "PreconditionFailed"), errors.PreconditionFailed),
    ],
)
async def test_each_failure_has_its_error_and_shows_no_secret(
    name: str, reply: bytes, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bucket_is_there = [answer("200 OK")] if kind is errors.NoSuchKey else []
    with scripted([reply, *bucket_is_there]) as server, pytest.raises(errors.S3Error) as raised:
        await _READS[name](_bucket(server.address))
    assert type(raised.value) is kind
    for text in (str(raised.value), repr(raised.value), caplog.text):
        assert "SECRET" not in text
        assert "KEY-" not in text


@every_read
async def test_passing_failures_are_retried(name: str) -> None:
    good = {
        "list": _EMPTY_PAGE,
        "head": answer(
            "200 OK", ETag='"e"', Content_Length="7", Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT"
        ),
    }.get(name, _OK_PART)
    bad = [b"", failure("503 Slow Down", "SlowDown")]
    with scripted([*bad, good]) as server:
        await _READS[name](_bucket(server.address, io_timeout=10))
    assert len(server.requests) == 3


async def test_a_page_that_cannot_be_parsed_is_asked_for_again() -> None:
    with scripted([answer("200 OK", b"<ListBucketResult><Conte"), _EMPTY_PAGE]) as server:
        page = await _bucket(server.address, io_timeout=10).list("p/")
    assert page.objects == ()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        _OK_PART[:-3],  # cut
        part(b"01234"),  # shorter than asked for
        part(b"0123456789A"),
        answer("200 OK", b"0123456789", ETag='"e"', Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT"),
    ],
)
async def test_a_body_that_is_not_the_range_is_never_served(reply: bytes) -> None:
    with scripted([reply, _OK_PART]) as server:
        data = await _READS["read"](_bucket(server.address, io_timeout=10))
    assert data == b"0123456789"
    assert len(server.requests) == 2


async def test_every_read_is_conditional() -> None:
    with scripted([_OK_PART]) as server:
        await _READS["read"](_bucket(server.address))
    head = server.requests[0].lower()
    assert b'if-match: "e"' in head
    assert b"range: bytes=0-9" in head


@every_read
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "AccessDenied"])
async def test_refused_credentials_are_replaced_once(name: str, code: str) -> None:
    keys = _Keys()
    with scripted([failure("403 Forbidden", code)]) as server, pytest.raises(errors.AccessDenied):
        await _READS[name](_bucket(server.address, keys))
    assert keys.asked == [None, "KEY-0"]
    assert [b"KEY-1" in head for head in server.requests] == [False, True]


@every_read
async def test_a_stalled_answer_ends_in_bounded_time(name: str) -> None:
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener[0].socket.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        await _READS[name](_bucket(f"http://127.0.0.1:{port}"))
    assert time.monotonic() - began < 5
    await listener[0].aclose()


async def test_a_stalled_body_ends_in_bounded_time() -> None:
    async def stall(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(_OK_PART[:-3])
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, stall, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        with trio.fail_after(5), pytest.raises(errors.Unavailable):
            await _READS["read"](_bucket(f"http://127.0.0.1:{port}"))
        nursery.cancel_scope.cancel()


async def test_a_body_in_chunks_is_whole() -> None:
    head = _OK_PART[: -len(b"0123456789")].replace(
        b"Content-Length: 10", b"Transfer-Encoding: chunked"
    )
    whole, cut = b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n", b"4\r\n0123\r\n6\r\n4567"
    with scripted([head + cut, head + whole]) as server:
        data = await _READS["read"](_bucket(server.address, io_timeout=10))
    assert data == b"0123456789"
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["list", "read"])
async def test_a_skewed_clock_is_told_in_one_sentence(name: str) -> None:
    reply = failure("403 Forbidden", "RequestTimeTooSkewed", _SERVER_TIME)
    with scripted([reply]) as server, pytest.raises(errors.ClockSkewed, match=r"ahead of the S3"):
        await _READS[name](_bucket(server.address))


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
async def test_the_region_is_told_by_head(status: str) -> None:
    reply = answer(status, x_amz_bucket_region="eu-central-1")
    with scripted([reply, _EMPTY_PAGE]) as server:
        bucket = _bucket(server.address)
        bucket.service.regions.clear()
        await bucket.list("p/")
    assert bucket.service.regions == {"b": "eu-central-1"}
    assert b"/eu-central-1/s3/" in server.requests[1]


async def test_a_bucket_that_tells_no_region_is_in_sydney() -> None:
    with scripted([answer("200 OK"), _EMPTY_PAGE]) as server:
        bucket = _bucket(server.address)
        bucket.service.regions.clear()
        await bucket.list("p/")
    assert b"/ap-southeast-2/s3/" in server.requests[1]


async def test_the_users_aws_settings_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_PROFILE": "absent",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_REGION": "nowhere-1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_MAX_ATTEMPTS": "50",
        "AWS_RETRY_MODE": "adaptive",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_REQUEST_PAYER": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with scripted([_EMPTY_PAGE, _OK_PART]) as server:
        bucket = _bucket(server.address)
        await bucket.list("p/")
        await _READS["read"](bucket)
    for head in server.requests:
        assert b"/us-east-1/s3/" in head
        assert b"KEY-0" in head
        assert b"request-payer" not in head.lower()


async def test_overload_leaves_fewer_requests_at_once() -> None:
    overload = failure("503 Slow Down", "SlowDown")
    with scripted([overload, overload, _OK_PART]) as server:
        bucket = _bucket(server.address, io_timeout=10)
        most, lanes = bucket.service.reads.total_tokens, bucket.service.download_lanes.limit
        await _READS["read"](bucket)
    assert bucket.service.reads.total_tokens == most // 2
    assert bucket.service.download_lanes.limit == lanes // 2
    assert bucket.service.upload_lanes.limit == lanes


async def test_overload_leaves_fewer_parts_at_once() -> None:
    overload = failure("503 Slow Down", "SlowDown")
    with scripted([overload, answer("200 OK", ETag='"p"')]) as server:
        bucket = _bucket(server.address, io_timeout=10)
        lanes = bucket.service.upload_lanes.limit
        part = await ObjectWriter(bucket).upload_part("k", "u", 1, b"bytes")
    assert part.etag == '"p"'
    assert bucket.service.upload_lanes.limit == lanes // 2
    assert bucket.service.download_lanes.limit == lanes


def test_pace_halves_once_an_overload_and_recovers() -> None:
    async def main() -> None:
        limiter = trio.CapacityLimiter(16)
        pace = Pace(limiter)
        for _ in range(5):
            pace.slow_down()
        assert limiter.total_tokens == 8
        for _ in range(5):
            await trio.sleep(2)
            pace.slow_down()
        assert limiter.total_tokens == 2
        for _ in range(2):
            pace.answered()
        assert limiter.total_tokens == 3
        for _ in range(1000):
            pace.answered()
        assert limiter.total_tokens == 16

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
