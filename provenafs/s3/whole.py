"""Reads whole objects with their metadata, for copies and verification."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import trio

from provenafs.s3.answers import etag_of, same_etag
from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import BadAnswer, PreconditionFailed
from provenafs.s3.metadata import Metadata, metadata_of
from provenafs.s3.types import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_PIECE = 8 * 1024 * 1024
# The ETag of an object sent in one piece and not encrypted with a key of its own is its MD5.
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


async def read_whole(bucket: Bucket, item: ObjectInfo) -> tuple[bytes, Metadata]:
    """All bytes of an object and its metadata, in one request.

    Raises PreconditionFailed if the object is another by now, NoSuchKey, S3Error.
    """

    if item.size == 0:  # a marker too, which some servers have no ETag to ask for by
        head = await bucket.head(item.key)
        if head.size or not same_etag(head.etag, item.etag):
            raise PreconditionFailed("another version is there")
        return b"", head.metadata

    def work(client: S3Client) -> tuple[bytes, Metadata]:
        answer: Any = client.get_object(Bucket=bucket.name, Key=item.key, IfMatch=item.etag)
        if not same_etag(etag_of(answer), item.etag):
            raise PreconditionFailed("another version came")
        body = answer["Body"].read()
        if len(body) != item.size:
            raise BadAnswer(f"{len(body)} of {item.size} bytes came")
        return body, metadata_of(answer)

    return await bucket.boto(f"reading {item.key}", work, bucket.service.reads)


async def fault_in(bucket: Bucket, item: ObjectInfo) -> str | None:
    """The fault in the bytes of an object; None if every checksum matches.

    Raises PreconditionFailed if the object is another by now, NoSuchKey, S3Error.
    """

    def work(client: S3Client) -> list[_Checksum]:
        answer: Any = client.head_object(
            Bucket=bucket.name, Key=item.key, IfMatch=item.etag, ChecksumMode="ENABLED"
        )
        return _checksums(answer, item.etag)

    checksums = await bucket.boto(f"verifying {item.key}", work, bucket.service.listings)

    def update(data: memoryview) -> None:
        for checksum in checksums:
            checksum.digest.update(data)

    for start in range(0, item.size, _PIECE):
        length = min(_PIECE, item.size - start)
        data = await bucket.read_range(item.key, start, length, item.etag, size=item.size)
        await trio.to_thread.run_sync(update, data)
    wrong = [each.fault for each in checksums if each.digest.digest() != each.expected]
    return wrong[0] if wrong else None


def md5_of(etag: str) -> str | None:
    """The MD5 that an ETag stands for, if it can be one."""
    match = _MD5.fullmatch(etag)
    return None if match is None else match[1]


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 with the methods of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Checksum:
    """An expected checksum; `fault` if the bytes do not match it."""

    def __init__(self, digest: _Digest, expected: bytes, fault: str) -> None:
        self.digest = digest
        self.expected = expected
        self.fault = fault


# Of the kinds that S3 stores, those that the standard library can make.
_STORED: Mapping[str, Callable[[], _Digest]] = {
    "ChecksumCRC32": _Crc32,
    "ChecksumSHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "ChecksumSHA256": hashlib.sha256,
}


def _checksums(answer: Mapping[str, Any], etag: str) -> list[_Checksum]:
    found = []
    for name, make in _STORED.items():
        value = answer.get(name)
        if value is None or "-" in value or answer.get("ChecksumType") == "COMPOSITE":
            continue  # one of a composite is made of the parts, which are not known
        try:
            expected = base64.b64decode(value, validate=True)
        except ValueError:
            raise BadAnswer("the stored checksum is invalid") from None
        found.append(
            _Checksum(make(), expected, "the checksum of its bytes differs from the stored one")
        )
    md5 = md5_of(etag)
    if md5 is not None and "SSEKMSKeyId" not in answer:
        fault = "the MD5 of its bytes differs from its ETag"
        found.append(_Checksum(hashlib.md5(usedforsecurity=False), bytes.fromhex(md5), fault))
    return found
