"""S3's refusals: failed conditions, and requests that cannot be met."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote
from xml.sax.saxutils import escape

from provenafs.sandbox.s3_wire import Request

MAX_KEY_BYTES = 1024
MARKER_ETAG = '"d41d8cd98f00b204e9800998ecf8427e"'
"""The MD5 of nothing: every object whose key ends in a slash is empty."""

_WAIT_S = 60
_SOURCE = "x-amz-copy-source"
_SUBRESOURCES = {
    *("acl", "attributes", "legal-hold", "partNumber", "restore", "retention"),
    *("select", "tagging", "torrent", "uploads"),
}


class Refusal(Enum):
    """An answer of S3's own making: HTTP status, code and message."""

    KEY_TOO_LONG = (400, "KeyTooLongError", "Your key is too long")
    MALFORMED = (400, "MalformedXML", "The XML you provided was not well-formed.")
    NO_DIGEST = (
        400,
        "InvalidRequest",
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    )
    EXPIRED = (400, "ExpiredToken", "The provided token has expired.")
    MISSING = (404, "NoSuchKey", "The specified key does not exist.")
    NO_LENGTH = (411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    CONDITION = (
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    )
    UNCHANGED = (304, "NotModified", "Not Modified")
    NOT_IMPLEMENTED = (
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
    )
    BUSY = (503, "SlowDown", "Please reduce your request rate.")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def code(self) -> str:
        """The error code in the body."""
        return self.value[1]

    @property
    def message(self) -> str:
        """The sentence in the body."""
        return self.value[2]

    def answer(self, request: Request, *, is_last: bool) -> bytes:
        """The whole answer; `is_last` if the connection ends with it."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{self.message}</Message>"
            f"<Key>{escape(request.key)}</Key><RequestId>front</RequestId></Error>"
        ).encode()
        has_body = self is not Refusal.UNCHANGED
        head = f"HTTP/1.1 {self.status} {self.code}\r\nServer: S3\r\n"
        if has_body:
            head += f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        if is_last:
            head += "Connection: close\r\n"
        return f"{head}\r\n".encode() + (body if has_body and request.method != "HEAD" else b"")


class Busy(Exception):
    """A key was held by others for too long."""


class KeyLocks:
    """Whoever changes objects holds their names meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(self, names: frozenset[str]) -> Iterator[None]:
        """Wait until all are free and hold them. Raises Busy after a minute."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._held.isdisjoint(names), _WAIT_S):
                raise Busy
            self._held |= names
        try:
            yield
        finally:
            with self._changed:
                self._held -= names
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the object of a request; ETags without quotes."""

    match: str | None
    none_match: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Condition | None:
        """The condition of a request; None without one."""
        match, none_match = headers.get("if-match"), headers.get("if-none-match")
        if match is None and none_match is None:
            return None
        return cls(_bare(match), _bare(none_match))

    @classmethod
    def of_source(cls, headers: Mapping[str, str]) -> Condition | None:
        """The condition on the source of a copy; None without one."""
        prefix = "x-amz-copy-source-"
        return cls.of(
            {
                name.removeprefix(prefix): value
                for name, value in headers.items()
                if name.startswith(prefix)
            }
        )

    def refusal_to_change(self, etag: str | None) -> Refusal | None:
        """The refusal to change an object of this ETag (None: missing)."""
        if self.match is not None and etag is None:
            return Refusal.MISSING
        if self.match not in (None, "*", _bare(etag)):
            return Refusal.CONDITION
        if self.none_match is not None and etag is not None:
            return Refusal.CONDITION
        return None

    def refusal_to_copy(self, etag: str | None) -> Refusal | None:
        """The refusal to copy an object of this ETag."""
        return None if self.refusal_to_read(etag) is None else Refusal.CONDITION

    def refusal_to_read(self, etag: str | None) -> Refusal | None:
        """The refusal to read an object of this ETag."""
        if etag is None:
            return None
        if self.match not in (None, "*", _bare(etag)):
            return Refusal.CONDITION
        if self.none_match in ("*", _bare(etag)):
            return Refusal.UNCHANGED
        return None


def refused(request: Request) -> Refusal | None:
    """The refusal of a request regardless of the bucket's content."""
    if len(request.key.encode()) > MAX_KEY_BYTES:
        return Refusal.KEY_TOO_LONG
    if request.is_chunked:
        return Refusal.NO_LENGTH
    none_match = request.headers.get("if-none-match")
    if changed_names(request) and none_match is not None:
        given = "if-match" in request.headers or request.method == "DELETE"
        if given or none_match != "*":
            return Refusal.NOT_IMPLEMENTED
    return None


def changed_names(request: Request) -> frozenset[str]:
    """The objects that a request holds to be one step; none if it changes and copies none."""
    names: set[str] = set()
    uploads = "uploadId" in request.query
    if request.key and not _SUBRESOURCES & request.query.keys():
        is_change = request.method in ("PUT", "DELETE") and not uploads
        if is_change or (request.method == "POST" and uploads):
            names.add(f"{request.bucket}/{request.key}")
    if request.method == "PUT" and _SOURCE in request.headers:
        names.add("/".join(source_of(request)))
    return frozenset(names)


def source_of(request: Request) -> tuple[str, str]:
    """The bucket and the key that a copy is made from."""
    path = unquote(request.headers[_SOURCE].partition("?")[0]).removeprefix("/")
    bucket, _, key = path.partition("/")
    return bucket, key


def deletes_many(request: Request) -> bool:
    """Whether a request is a DeleteObjects."""
    return request.method == "POST" and not request.key and "delete" in request.query


def names_marker(request: Request) -> bool:
    """Whether a request is about an object whose key ends in a slash, and not its attributes."""
    return request.key.endswith("/") and not _SUBRESOURCES & request.query.keys()


def _bare(etag: str | None) -> str | None:
    return None if etag is None else etag.strip('"')
