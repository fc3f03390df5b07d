"""No answer of the server does more than it proves: each field missing, empty, doubled, huge, odd.

Whatever comes, an operation ends in an S3Error or with what the good answer would have given.
"""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provenafs.s3 import errors
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.metadata import Metadata
from provenafs.s3.types import Credentials, CredentialScope, ListPage, ObjectInfo, UploadedPart
from provenafs.s3.whole import fault_in, read_whole
from provenafs.s3.writing import ObjectWriter
from tests.support.scripted_s3 import Scripted, answer, scripted

_TIME = "Wed, 21 Oct 2015 07:28:00 GMT"
_BODY = b"0123456789"
_CRC32 = base64.b64encode(zlib.crc32(_BODY).to_bytes(4, "big")).decode()
_ITEM = ObjectInfo("k", 10, '"e"', 1445412480 * 10**9)


@dataclass(frozen=True)
class _Case:
    """An operation with a good answer to it: header fields, and a body with XML fields."""

    operation: Callable[[Bucket], Awaitable[Any]]
    status: str = "200 OK"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    fields: tuple[str, ...] = ()
    is_head: bool = False

    def reply(self, headers: list[tuple[str, str]] | None = None, body: str | None = None) -> bytes:
        """The answer, with other headers or another body."""
        sent = (self.body if body is None else body).encode()
        pairs = list(self.headers.items()) if headers is None else headers
        if not self.is_head:
            pairs = [*pairs, ("Content-Length", str(len(sent)))]
        lines = [f"HTTP/1.1 {self.status}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in pairs]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head if self.is_head else head + sent

    def broken(self) -> Iterator[bytes]:
        """The answer with each of its fields gone wrong in each way."""
        for name, value in self.headers.items():
            others = [pair for pair in self.headers.items() if pair[0] != name]
            for values in ((), ("",), (value, "x" + value), ("9" * 5000,), ("\x01\xe9 ☃?",)):
                sent = [(name, each.encode().decode("latin-1")) for each in values]
                yield self.reply([*others, *sent])
        for name in self.fields:
            start = self.body.index(f"<{name}>")
            end = self.body.index(f"</{name}>") + len(name) + 3
            element = self.body[start:end]
            for other in (
                "",
                f"<{name}></{name}>",
                f"{element}<{name}>7</{name}>",
                f"<{name}>{'9' * 100_000}</{name}>",
                f"<{name}>a&#10;b</{name}>",
                f"<{name}>-1</{name}>",
                f"<{name}><a>☃</a></{name}>",
                f"<{name}>%FF%0</{name}>",
            ):
                yield self.reply(body=self.body[:start] + other + self.body[end:])
        for body in (
            "",
            "<html></html>",
            "{}",
            "<a",
            "<Error><Code>InvalidRequest</Code></Error>",
            "\0",
        ):
            if body != self.body and not self.is_head:
                yield self.reply(body=body)


_METADATA = Metadata("id")
_PARTS = [UploadedPart(1, '"p"')]
_ROW = (
    "<Contents><Key>p/k</Key><LastModified>2015-10-21T07:28:00Z</LastModified>"
    '<ETag>"e"</ETag><Size>10</Size></Contents>'
)
_PAGE = (
    "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t"
    "</NextContinuationToken><EncodingType>url</EncodingType><Contents><Key>p/a</Key>"
    f"<LastModified>2014-10-21T07:28:00Z</LastModified><ETag>&quot;a&quot;</ETag><Size>1</Size>"
    f"</Contents>{_ROW}<CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes></ListBucketResult>"
)
_HEAD = {"ETag": '"e"', "Last-Modified": _TIME, "Content-Length": "10"}

_CASES: dict[str, _Case] = {
    "head": _Case(lambda bucket: bucket.head("k"), headers=_HEAD, is_head=True),
    "read": _Case(
        lambda bucket: bucket.read_range("k", 0, 10, '"e"', size=1000),
        "206 Partial Content",
        {"ETag": '"e"', "Content-Range": "bytes 0-9/1000"},
        _BODY.decode(),
    ),
    "whole": _Case(
        lambda bucket: read_whole(bucket, _ITEM),
        headers={"ETag": '"e"', "Last-Modified": _TIME},
        body=_BODY.decode(),
    ),
    "put": _Case(
        lambda bucket: ObjectWriter(bucket).put("k", _BODY, None, _METADATA),
        headers={"ETag": '"e"', "x-amz-checksum-crc32": _CRC32},
    ),
    "part": _Case(
        lambda bucket: ObjectWriter(bucket).upload_part("k", "id", 1, _BODY),
        headers={"ETag": '"e"', "x-amz-checksum-crc32": _CRC32},
    ),
    "create": _Case(
        lambda bucket: ObjectWriter(bucket).create_upload("k", _METADATA),
        body="<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>",
        fields=("UploadId",),
    ),
    "copy": _Case(
        lambda bucket: ObjectWriter(bucket).copy("s", '"s"', "k", None, size=1, metadata=_METADATA),
        body="<CopyObjectResult><ETag>e</ETag></CopyObjectResult>",
        fields=("ETag", "CopyObjectResult"),
    ),
    "copy part": _Case(
        lambda bucket: ObjectWriter(bucket).copy_part("k", "id", 1, "s", '"s"', 0, 10),
        body="<CopyPartResult><ETag>e</ETag></CopyPartResult>",
        fields=("ETag",),
    ),
    "complete": _Case(
        lambda bucket: ObjectWriter(bucket).complete("k", "id", _PARTS, None, _METADATA),
        body="<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
        fields=("ETag",),
    ),
    "delete": _Case(
        lambda bucket: ObjectWriter(bucket).delete("k", '"e"'), "204 No Content", is_head=True
    ),
    "abort": _Case(
        lambda bucket: ObjectWriter(bucket).abort("k", "id"), "204 No Content", is_head=True
    ),
    "list": _Case(
        lambda bucket: bucket.list("p/"),
        body=_PAGE,
        fields=("IsTruncated", "NextContinuationToken", "EncodingType", "Key", "LastModified",
                "ETag", "Size", "Prefix", "Contents", "CommonPrefixes"),
    ),
}  # fmt: skip
every_operation = pytest.mark.parametrize("name", _CASES)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr("provenafs.s3.calls._FIRST_PAUSE_S", 0.0)


async def _keys(access: CredentialScope, rejected: Credentials | None) -> Credentials:
    return Credentials("KEY", "s", "TOKEN-SECRET", datetime.now(UTC) + timedelta(hours=1))


def _bucket(address: str) -> Bucket:
    service = S3Context(address, 10)
    service.regions["b"] = "us-east-1"
    return Bucket("b", _keys, service)


@pytest.fixture
def stage() -> Iterator[tuple[Scripted, Bucket]]:
    """A server whose answers are set as the test goes on, and its bucket."""
    with scripted([b""]) as server:
        yield server, _bucket(server.address)


async def _outcome(stage: tuple[Scripted, Bucket], case: _Case, reply: bytes) -> Any:
    """What an operation makes of an answer: its result, or the S3Error."""
    server, bucket = stage
    server.answers[:] = [reply]
    server.requests.clear()
    try:
        return await case.operation(bucket)
    except errors.S3Error as error:
        assert len(server.requests) <= 4
        return error


@every_operation
async def test_each_field_of_each_answer_may_be_anything(
    name: str, stage: tuple[Scripted, Bucket]
) -> None:
    case = _CASES[name]
    good = await _outcome(stage, case, case.reply())
    assert not isinstance(good, Exception)
    for reply in case.broken():
        got = await _outcome(stage, case, reply)
        if isinstance(got, ListPage):
            rows = {replace(item, etag="") for item in good.objects}
            assert {replace(item, etag="") for item in got.objects} <= rows, reply
            assert set(got.prefixes) <= set(good.prefixes), reply
            assert got.next_token is not None, reply
        elif not isinstance(got, Exception) and "ETag" in case.headers:
            assert _etag(got) == _etag(good), reply


def _etag(result: Any) -> Any:
    return getattr(result, "etag", result)


@every_operation
async def test_only_the_documented_status_is_a_success(
    name: str, stage: tuple[Scripted, Bucket]
) -> None:
    case = _CASES[name]
    for status in ("200", "201", "202", "204", "206", "226", "304"):
        if not case.status.startswith(status):
            reply = case.reply().replace(case.status.encode(), f"{status} x".encode(), 1)
            assert isinstance(await _outcome(stage, case, reply), errors.S3Error)


@every_operation
async def test_no_redirect_is_followed(name: str, stage: tuple[Scripted, Bucket]) -> None:
    case = _CASES[name]
    code = b"<Error><Code>PermanentRedirect</Code><Endpoint>%s</Endpoint></Error>"
    with scripted([case.reply()]) as elsewhere:
        endpoint = elsewhere.address.removeprefix("http://").encode()
        for status in ("301", "302", "303", "307", "308"):
            reply = answer(
                f"{status} x",
                code % endpoint,
                Location=f"{elsewhere.address}/b/k",
                x_amz_bucket_region="eu-west-1",
            )
            assert "another address" in str(await _outcome(stage, case, reply))
            assert len(stage[0].requests) == 1
        assert elsewhere.requests == []


@pytest.mark.parametrize("region", ["evil.example/", "x" * 40, "a b", "eu.west"])
async def test_a_region_is_a_name_and_no_address(region: str) -> None:
    with scripted([answer("200 OK", x_amz_bucket_region=region)]) as server:
        bucket = Bucket("b", _keys, S3Context(server.address, 10))
        with pytest.raises(errors.BadAnswer, match="region"):
            await bucket.head("k")


async def test_a_bucket_that_is_not_there_is_told() -> None:
    with scripted([answer("404 Not Found")]) as server:
        bucket = Bucket("b", _keys, S3Context(server.address, 10))
        with pytest.raises(errors.S3Error, match="bucket does not exist") as raised:
            await bucket.head("k")
    assert type(raised.value) is errors.S3Error


async def test_a_put_that_a_page_answers_is_not_stored() -> None:
    login = answer("200 OK", b"<html>Log in</html>", Content_Type="text/html", ETag='"5f-ab"')
    for reply in (login, answer("200 OK", Content_Type="text/html")):
        with scripted([reply]) as server, pytest.raises(errors.BadAnswer):
            await _CASES["put"].operation(_bucket(server.address))
        assert len(server.requests) == 3


async def test_an_error_after_a_200_is_an_error() -> None:
    body = b'<?xml version="1.0"?>\n\n   <Error><Code>PreconditionFailed</Code></Error>'
    for name in ("copy", "complete"):
        with scripted([answer("200 OK", body)]) as server, pytest.raises(errors.PreconditionFailed):
            await _CASES[name].operation(_bucket(server.address))


@pytest.mark.parametrize("headers", [{"Content_Range": "bytes 10-19/1000"},
                                     {"Content_Range": "bytes 0-9/999"},
                                     {"Content_Range": "bytes 0-9/*"}])  # fmt: skip
async def test_another_range_is_never_served(headers: dict[str, str]) -> None:
    reply = answer("206 Partial Content", _BODY, **{"ETag": '"e"', **headers})
    for size in (10, 2 * 1024 * 1024):
        with scripted([reply]) as server, pytest.raises(errors.BadAnswer, match="came"):
            await _bucket(server.address).read_range("k", 0, size, '"e"', size=1000)


@pytest.mark.parametrize("size", [10, 2 * 1024 * 1024])
async def test_another_version_is_stale(size: int) -> None:
    """From a server that does not know If-Match."""
    body = b"x" * size
    reply = answer(
        "206 Partial Content", body, ETag='"f"', Content_Range=f"bytes 0-{size - 1}/{size}"
    )
    with scripted([reply]) as server, pytest.raises(errors.PreconditionFailed):
        await _bucket(server.address).read_range("k", 0, size, '"e"', size=size)
    reply = answer("200 OK", _BODY, ETag='"f"')
    with scripted([reply]) as server, pytest.raises(errors.PreconditionFailed):
        await read_whole(_bucket(server.address), _ITEM)


async def test_weak_and_bare_etags_are_the_same_version() -> None:
    for etag in ('W/"e"', "e"):
        reply = answer("206 Partial Content", _BODY, ETag=etag, Content_Range="bytes 0-9/1000")
        with scripted([reply]) as server:
            assert await _CASES["read"].operation(_bucket(server.address)) == _BODY


async def test_one_bad_row_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    bad = (
        _ROW.replace("p/k", "p/%FF"),
        _ROW.replace("p/k", "elsewhere/k"),
        _ROW.replace(">10<", ">1e3<"),
        _ROW.replace(">10<", f">{2**63}<"),
        _ROW.replace("2015-10-21", "2015-13-45"),
        _ROW.replace('"e"', '"e&#10;x-amz-acl: public-read"'),
    )
    page = _PAGE.replace(_ROW, "".join(bad) + _ROW)
    with scripted([answer("200 OK", page.encode())]) as server:
        bucket = _bucket(server.address)
        for _ in range(2):
            found = await bucket.list("p/")
    assert [item.key for item in found.objects] == ["p/a", "p/k"]
    assert len(found.left_out) == len(bad)
    assert caplog.text.count("left out") == 1


@pytest.mark.parametrize(
    ("checksum", "fault"),
    [(_CRC32, None), ("AAAAAA==", "checksum"), ("AAAAAA==-2", None)],
)
async def test_a_stored_checksum_is_compared(checksum: str, fault: str | None) -> None:
    head = answer("200 OK", Content_Length="10", ETag='"e"', x_amz_checksum_crc32=checksum)
    whole = answer("206 x", _BODY, ETag='"e"', Content_Range="bytes 0-9/10")
    with scripted([head, whole]) as server:
        found = await fault_in(_bucket(server.address), _ITEM)
    assert found is None if fault is None else fault in str(found)


async def test_a_marker_of_a_directory_needs_no_etag() -> None:
    with scripted([answer("200 OK")]) as server:
        writer = ObjectWriter(_bucket(server.address))
        assert await writer.put("d/", b"", None, _METADATA) == ""
