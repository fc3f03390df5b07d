"""The XML of S3 that the front reads or writes: DeleteObjects, and the ETags of listings."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from provenafs.sandbox.s3_conditions import MARKER_ETAG
from provenafs.sandbox.s3_wire import Malformed, Request, with_headers

MAX_BODY = 2 * 1024 * 1024
_MAX_ITEMS = 1000
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/")
_LISTED_MARKER = re.compile(
    rb"(<Key>[^<]*(?:/|%2F)</Key><LastModified>[^<]*</LastModified>)<ETag></ETag>"
)
_MARKER_VERSION = re.compile(
    rb"<ETag></ETag>(<Size>0</Size><StorageClass>[^<]*</StorageClass><Key>[^<]*(?:/|%2F)</Key>)"
)
_ETAG = f"<ETag>{escape(MARKER_ETAG, {chr(34): '&#34;'})}</ETag>".encode()


@dataclass(frozen=True, slots=True)
class Item:
    """One object to delete, only if it has this ETag where one is given."""

    key: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of a DeleteObjects."""

    items: tuple[Item, ...]
    is_quiet: bool

    @classmethod
    def parse(cls, body: bytes) -> Batch | None:
        """None if it is not what S3 takes: up to 1,000 keys, and no document type."""
        try:
            root = None if b"<!" in body else ElementTree.fromstring(body)
        except ElementTree.ParseError:
            return None
        if root is None:
            return None
        items = tuple(
            Item(entry.findtext("{*}Key") or "", entry.findtext("{*}ETag"))
            for entry in root.findall("{*}Object")
        )
        if not 0 < len(items) <= _MAX_ITEMS or not all(item.key for item in items):
            return None
        return cls(items, root.findtext("{*}Quiet") == "true")

    def names(self, bucket: str) -> frozenset[str]:
        """The objects as the locks know them."""
        return frozenset(f"{bucket}/{item.key}" for item in self.items)

    def without(self, keys: Collection[str]) -> Batch:
        """The same batch without some of its keys."""
        return Batch(tuple(item for item in self.items if item.key not in keys), self.is_quiet)

    def body(self) -> bytes:
        """The batch as a body, its conditions left out."""
        objects = "".join(
            f"<Object><Key>{_escaped(item.key)}</Key></Object>" for item in self.items
        )
        quiet = str(self.is_quiet).lower()
        return f"<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>".encode()


def has_digest(request: Request) -> bool:
    """Whether a request proves its body as S3 wants it."""
    return "content-md5" in request.headers or any(
        name.startswith("x-amz-checksum-") for name in request.headers
    )


def with_digest(head: bytes, body: bytes) -> bytes:
    """A head with the one digest that the gateway knows."""
    if b"\r\ncontent-md5:" in head.lower():
        return head
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return with_headers(head, {"Content-MD5": base64.b64encode(digest).decode()})


def key_id(request: Request) -> str:
    """The id of the keys that a request is signed with; empty if none is found."""
    found = _CREDENTIAL.search(request.headers.get("authorization", ""))
    return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one object was not deleted."""

    code: str
    message: str


def failures(result: bytes) -> dict[str, Failure]:
    """What the gateway did not delete, by key. Raises Malformed if it is no DeleteResult."""
    try:
        root = ElementTree.fromstring(result)
    except ElementTree.ParseError as error:
        raise Malformed from error
    return {
        error.findtext("{*}Key") or "": Failure(
            error.findtext("{*}Code") or "", error.findtext("{*}Message") or ""
        )
        for error in root.findall("{*}Error")
    }


def answer_of(batch: Batch, failed: Mapping[str, Failure]) -> bytes:
    """The answer to a DeleteObjects.

    It is made anew: the gateway's says how many objects were deleted but not which.
    """
    deleted = () if batch.is_quiet else (item.key for item in batch.items)
    entries = [
        f"<Deleted><Key>{_escaped(key)}</Key></Deleted>" for key in deleted if key not in failed
    ]
    entries += [
        f"<Error><Key>{_escaped(key)}</Key><Code>{failure.code}</Code>"
        f"<Message>{escape(failure.message)}</Message></Error>"
        for key, failure in failed.items()
    ]
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{''.join(entries)}</DeleteResult>"
    ).encode()
    head = (
        "HTTP/1.1 200 OK\r\nServer: S3\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def with_marker_etags(listing: bytes) -> bytes:
    """A listing in which objects whose key ends in a slash have an ETag as all others do."""
    if b"<ETag></ETag>" not in listing:
        return listing
    listing = _LISTED_MARKER.sub(rb"\g<1>" + _ETAG, listing)
    return _MARKER_VERSION.sub(_ETAG + rb"\g<1>", listing)


def _escaped(text: str) -> str:
    return escape(text, {"\r": "&#13;"})
