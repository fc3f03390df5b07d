"""Metadata of objects, and the forms in which other clients write it.

Times are as rclone and s3fs have them: `x-amz-meta-mtime`, decimal seconds since the epoch, to the
nanosecond. Permissions are in `x-amz-meta-mode`: s3fs writes the mode of stat(2) as a decimal
number and reads it as C does, rclone writes and reads it in octal. `0100644`, octal with a leading
zero, is understood by both, and is what is written here.
"""

from __future__ import annotations

import mimetypes
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from provenafs.s3.answers import etag_of, headers_of, modified_of, size_of

WRITE_ID = "provenafs-write-id"
# With a copy goes the ETag of its original: one copied in parts may get another itself.
COPY_OF = "provenafs-copy-of"
MTIME = "mtime"
MODE = "mode"

_UNKNOWN_TYPE = "binary/octet-stream"
_USER = "x-amz-meta-"
_STORAGE_CLASS = "x-amz-storage-class"
# Other attributes that a new object gets only if they are sent again: headers, boto3 arguments.
_KEPT = {
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "expires": "Expires",
    _STORAGE_CLASS: "StorageClass",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
}
# Checksums that this client, rclone and s3cmd keep: they are wrong once the bytes are others.
_OF_THE_BYTES = (COPY_OF, "md5chksum", "s3cmd-attrs")
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")  # where bytes cannot be read without a restoration
_LONGEST_TIME_S = 10**12
_DATES_DIFFER_S = 2.0


@dataclass(frozen=True, slots=True)
class Metadata:
    """Everything stored with an object except its bytes.

    `mtime_ns` is in nanoseconds since the epoch, `mode` permission bits. `other` is what other
    clients call metadata, with names in lower case; `kept` are headers that S3 answers with again;
    `tags` are in the form of a query, as the header x-amz-tagging has them.
    """

    write_id: str
    mtime_ns: int | None = None
    content_type: str = _UNKNOWN_TYPE
    other: Mapping[str, str] = field(default_factory=dict)
    mode: int | None = None
    kept: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""

    def arguments(self) -> dict[str, Any]:
        """As boto3 takes it, without the tags."""
        named: dict[str, Any] = {_KEPT[name]: value for name, value in self.kept.items()}
        if "Expires" in named:
            try:
                named["Expires"] = parsedate_to_datetime(named["Expires"])
            except ValueError:  # boto3 sends dates only
                del named["Expires"]
        return {"ContentType": self.content_type, "Metadata": self._pairs(), **named}

    def headers(self) -> dict[str, str]:
        """As it is sent."""
        named = {f"{_USER}{name}": value for name, value in self._pairs().items()}
        tagging = {"x-amz-tagging": self.tags} if self.tags else {}
        return {"content-type": self.content_type, **self.kept, **tagging, **named}

    def for_new_bytes(self) -> Metadata:
        """The part that stays valid when the bytes are replaced, and leaves them readable."""
        kept = dict(self.kept)
        if kept.get(_STORAGE_CLASS) in _ARCHIVES:
            del kept[_STORAGE_CLASS]
        other = {name: text for name, text in self.other.items() if name not in _OF_THE_BYTES}
        return replace(self, other=other, kept=kept)

    def _pairs(self) -> dict[str, str]:
        pairs = {**self.other, WRITE_ID: self.write_id}
        if self.mtime_ns is not None:
            pairs[MTIME] = time_text(self.mtime_ns)
        if self.mode is not None and mode_of(pairs.get(MODE)) != self.mode:
            pairs[MODE] = f"0{stat.S_IFREG | self.mode:o}"
        return pairs


@dataclass(frozen=True, slots=True)
class Head:
    """An object as HEAD returns it: size in bytes, times in nanoseconds since the epoch.

    `version` where the bucket keeps versions; `ahead` is by how many seconds the server's clock is
    ahead of ours, if that is more than the answer's Date is inexact.
    """

    size: int
    etag: str
    modified_ns: int
    metadata: Metadata
    version: str | None = None
    ahead: float = 0.0
    is_tagged: bool = False


def head_of(answer: Mapping[str, Any], key: str) -> Head:
    """An object from boto3's response to a HEAD. Raises BadAnswer."""
    return Head(
        size_of(answer),
        etag_of(answer, key=key),
        modified_of(answer),
        metadata_of(answer),
        answer.get("VersionId"),
        _ahead(answer),
        headers_of(answer).get("x-amz-tagging-count", "0") != "0",
    )


def _ahead(answer: Mapping[str, Any]) -> float:
    try:
        date = headers_of(answer)["date"]
        ahead = parsedate_to_datetime(date).timestamp() - time.time()
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0.0
    return ahead if abs(ahead) > _DATES_DIFFER_S else 0.0


def metadata_of(answer: Mapping[str, Any]) -> Metadata:
    """The metadata in boto3's response to a HEAD or GET, without the tags."""
    headers = headers_of(answer)
    found: Mapping[str, str] = answer.get("Metadata") or {}
    other = {name.lower(): text for name, text in found.items() if _is_sendable(name + text)}
    write_id = other.pop(WRITE_ID, "")
    mtime_ns = time_of(other.get(MTIME))
    if mtime_ns is not None:
        del other[MTIME]
    return Metadata(
        write_id,
        mtime_ns,
        _sendable(answer.get("ContentType") or "") or _UNKNOWN_TYPE,
        other,
        mode_of(other.get(MODE)),
        {name: text for name in _KEPT if (text := _sendable(headers.get(name, "")))},
    )


def _sendable(text: str) -> str:
    """A header's text as it can be sent again; empty if it cannot.

    Some servers keep that a body came in chunks.
    """
    parts = [part for part in text.split(",") if part.strip() != "aws-chunked"]
    return ",".join(parts) if _is_sendable(text) else ""


def _is_sendable(text: str) -> bool:
    """Text that is not ASCII cannot be signed, and control characters would break a request."""
    return text.isascii() and text.isprintable()


def content_type(key: str) -> str:
    """The media type that a key's name suggests."""
    kind, encoding = mimetypes.guess_type(key, strict=False)
    return kind if kind and not encoding else _UNKNOWN_TYPE


def time_text(time_ns: int) -> str:
    """A time in nanoseconds since the epoch as rclone writes it: 1530204180.123456789."""
    seconds, rest = divmod(abs(time_ns), 10**9)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return f"{'-' if time_ns < 0 else ''}{seconds}{fraction}"


def time_of(text: str | None) -> int | None:
    """The time that a text of decimal seconds means, in nanoseconds; None if it means none."""
    try:
        seconds = Decimal(text or "")
        if not seconds.is_finite() or abs(seconds) > _LONGEST_TIME_S:
            return None
        return int(seconds.scaleb(9))
    except ArithmeticError:  # no number, or one with a boundless exponent
        return None


def mode_of(text: str | None) -> int | None:
    """The permission bits of a mode, octal or decimal; None if it is none of a plain file.

    What can be read as either is told by the type of file that it then is. Without a type it is
    octal, as people write permissions.
    """
    for base in (8, 10):
        try:
            mode = int(text or "", base)
        except ValueError:
            continue
        if not 0 <= mode < 2**16:
            continue
        if stat.S_ISREG(mode) or (base == 8 and mode <= 0o7777):
            return stat.S_IMODE(mode) & 0o777
    return None
