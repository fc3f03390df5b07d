"""What a bucket in memory keeps, and the answers and refusals it gives, as boto3 shows them."""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

_STATUSES = {
    "ConditionalRequestConflict": 409,
    "InvalidRange": 416,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
}
# What an object carries beside its user's metadata: boto3's arguments and HTTP's headers.
CARRIED = {
    "ContentType": "content-type",
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "Expires": "expires",
    "StorageClass": "x-amz-storage-class",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
}


class NoSuchKey(ClientError):
    """As `client.exceptions.NoSuchKey` of boto3."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object; without a body it is a delete marker."""

    body: bytes | None
    etag: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    carried: Mapping[str, str] = field(default_factory=dict)  # by the names of CARRIED
    tags: str = ""
    version: str | None = None
    modified: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @property
    def size(self) -> int:
        return len(self.body or b"")


def refusal(code: str) -> ClientError:
    """What boto3 raises for an error of the server."""
    status = _STATUSES.get(code, 400)
    kind = NoSuchKey if code == "NoSuchKey" else ClientError
    response: Any = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    return kind(response, "Request")


def body_of(body: Any) -> bytes:
    """All bytes of what boto3 takes as a body."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, str):
        return body.encode()
    pieces = []
    while piece := body.read(1024**2):
        pieces.append(bytes(piece))
    return b"".join(pieces)


def answer(
    fields: Mapping[str, Any] | None = None,
    stored: Stored | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    told = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    version = stored.version if stored is not None else None
    named = {} if version is None else {"VersionId": version}
    return {**(fields or {}), **named, "ResponseMetadata": told}


def described(given: Mapping[str, Any], tags: str, body: bytes | None, etag: str) -> Stored:
    metadata = {name.lower(): text for name, text in given.get("Metadata", {}).items()}
    carried = {"ContentType": "binary/octet-stream", **headers_given(given)}
    return Stored(body, etag, metadata, carried, tags)


def headers_given(given: Mapping[str, Any]) -> dict[str, str]:
    carried = {name: _header(given[name]) for name in CARRIED if given.get(name) is not None}
    if carried.get("StorageClass") == "STANDARD":
        del carried["StorageClass"]
    return carried


def _header(value: Any) -> str:
    return f"{value:%a, %d %b %Y %H:%M:%S GMT}" if isinstance(value, datetime) else str(value)


def row_of(key: str, stored: Stored) -> dict[str, Any]:
    return {
        "Key": key,
        "Size": stored.size,
        "ETag": stored.etag,
        "LastModified": stored.modified,
        "StorageClass": stored.carried.get("StorageClass", "STANDARD"),
    }


def range_of(text: str, size: int, *, is_exact: bool = False) -> tuple[int, int]:
    first, _, last = text.removeprefix("bytes=").partition("-")
    start, end = int(first), int(last) + 1 if last else size
    if start >= size or (is_exact and end > size):
        raise refusal("InvalidRange")
    return start, min(end, size)


def is_match(condition: str, stored: Stored) -> bool:
    return condition == "*" or bare(condition) == bare(stored.etag)


def bare(etag: str) -> str:
    return etag.strip('"')


def md5_etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def crc32(body: bytes) -> dict[str, str]:
    return {"ChecksumCRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()}


def check_crc(body: bytes, expected: str | None) -> None:
    if expected is not None and crc32(body)["ChecksumCRC32"] != expected:
        raise refusal("BadDigest")


def now() -> datetime:
    """S3 tells the time of an object in seconds."""
    return datetime.fromtimestamp(int(time.time()), UTC)
