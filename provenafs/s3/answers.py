"""Validation of the server's responses and their fields.

Nothing that comes from the network is trusted to be there, to be single, or to have a shape:
whatever is not as S3 documents it makes the whole answer a `BadAnswer`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree

from provenafs.s3.error_codes import Cure, cure_of
from provenafs.s3.errors import BadAnswer
from provenafs.s3.types import nanoseconds

CRC32 = "x-amz-checksum-crc32"

# Visible ASCII, as in a header, and no more of it than in the longest of any known server.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,254}"|[\x21\x23-\x7e]{1,254}')
_UPLOAD_ID = re.compile(r"[\x21-\x7e]{1,2048}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_CODE = re.compile(r"[A-Za-z0-9._ ]{1,64}")
_LARGEST = 2**63 - 1  # bytes; what a file size can say


@dataclass(frozen=True, slots=True)
class Answer:
    """A success with its whole body; header names in lower case, doubled ones joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(eq=False)
class ErrorAnswer(Exception):
    """An answer that is an error; `code` is empty where the server gave none that can be read."""

    status: int
    code: str
    is_head: bool = False
    server_time: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def cure(self) -> Cure:
        """The cure for it."""
        return cure_of(self.status, self.code, is_head=self.is_head)

    @property
    def is_redirect(self) -> bool:
        """Whether the server sends its clients elsewhere."""
        return self.status < HTTPStatus.BAD_REQUEST

    def __str__(self) -> str:
        return self.code or f"status {self.status}"


def document(body: bytes) -> ElementTree.Element:
    """The root of an XML answer; ValueError if it is none.

    S3 sends no declaration of types, which could make a small answer fill the memory.
    """
    if b"\0" in body or b"<!DOCTYPE" in body:
        raise ValueError("an XML document with a declaration of types")
    try:
        return ElementTree.fromstring(body)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not an XML document: {error}") from None


def error_document(body: bytes | None) -> tuple[str, str | None]:
    """The code and the server's time of an error; an empty code if it cannot be read."""
    try:
        root = document(body or b"")
    except ValueError:
        return "", None
    fields: dict[str, list[str]] = {}
    for element in root.iter():
        fields.setdefault(local_name(element), []).append(element.text or "")
    codes, times = fields.get("Code", ()), fields.get("ServerTime", ())
    if local_name(root) != "Error" or len(codes) != 1 or not _CODE.fullmatch(codes[0]):
        return "", None
    return codes[0], times[0] if times else None


def is_error_document(body: bytes) -> bool:
    """Whether a body is the error that S3 may send after a status of 200."""
    if b"<Error" not in body:
        return False
    try:
        return local_name(document(body)) == "Error"
    except ValueError:
        return False


def local_name(element: ElementTree.Element) -> str:
    """The tag of an element without its namespace."""
    return element.tag.rpartition("}")[2]


# The fields of boto3's answers and of headers


def is_etag(value: object) -> bool:
    """Whether it can be an ETag: it goes into headers again."""
    return isinstance(value, str) and _ETAG.fullmatch(value) is not None


def etag_of(answer: Mapping[str, Any], name: str = "ETag", *, key: str = "") -> str:
    """The ETag in a part of an answer; none for a directory's marker, where some servers have none.

    Raises BadAnswer.
    """
    value = answer.get(name)
    if key.endswith("/") and value in (None, "", '""'):
        return ""
    if not is_etag(value):
        raise BadAnswer("no ETag came" if value is None else "not an ETag")
    return str(value)


def same_etag(one: str, other: str) -> bool:
    """Whether two ETags name the same version, however they are quoted."""
    return one == other or _bare(one) == _bare(other)


def size_of(answer: Mapping[str, Any]) -> int:
    """An object's size in bytes from boto3's response. Raises BadAnswer."""
    size = answer.get("ContentLength")
    if not isinstance(size, int) or not 0 <= size <= _LARGEST:
        raise BadAnswer("no size came")
    return size


def modified_of(answer: Mapping[str, Any]) -> int:
    """An object's modification time in ns since the epoch. Raises BadAnswer."""
    modified = answer.get("LastModified")
    if not isinstance(modified, datetime):
        raise BadAnswer("no modification time")
    return nanoseconds(modified)


def headers_of(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers that boto3's answer came with, by names in lower case."""
    headers: Mapping[str, str] = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    return headers


def size_in(text: str | None) -> int:
    """A size in bytes from digits; ValueError for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ValueError("a size that is not a number")
    size = int(text)
    if size > _LARGEST:
        raise ValueError("a size larger than any file")
    return size


def part_of(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The element of an answer that holds its result. Raises BadAnswer."""
    found = answer.get(name)
    if not isinstance(found, Mapping):
        raise BadAnswer(f"no {name} came")
    return found


def upload_id_of(answer: Mapping[str, Any]) -> str:
    """The id of a multipart upload. Raises BadAnswer."""
    value = answer.get("UploadId")
    if not isinstance(value, str) or not _UPLOAD_ID.fullmatch(value):
        raise BadAnswer("no upload id")
    return value


def check_range(headers: Mapping[str, str], start: int, length: int, size: int) -> None:
    """Raise BadAnswer unless they announce [start, start + length) of an object of `size` bytes."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        raise BadAnswer("no range came")
    if (int(found[1]), int(found[2]), int(found[3])) != (start, start + length - 1, size):
        raise BadAnswer(f"{found[0]} came, not {length} bytes from {start} of {size}")


def check_stored(key: str, sent: Mapping[str, str], answer: Answer) -> None:
    """Raise BadAnswer unless an answer shows that S3 has stored the body that was sent."""
    etag_of(answer.headers, "etag", key=key)
    if answer.body.strip():
        raise BadAnswer("a page instead of an acknowledgement")
    if answer.headers.get(CRC32, sent.get(CRC32)) != sent.get(CRC32):
        raise BadAnswer("the stored bytes differ from those sent")


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
