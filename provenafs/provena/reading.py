"""Reads foreign data within limits: body length and depth of JSON."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import httpx

_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})
# Nothing of Provena is nested so deeply; what is could not be walked over without care.
_DEEPEST = 100
_LONGEST_INTEGER = 300  # digits: more do not fit into a float


class UnusableBody(Exception):
    """A body in an encoding that was not asked for, or that ends too early."""


async def body_within(response: httpx.Response, limit: int) -> bytes | None:
    """The decompressed body of a response that is being streamed, or None if it is longer.

    `limit` in bytes; no more than that is ever held. Raises UnusableBody and httpx.HTTPError.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise UnusableBody
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk if unpack is None else _unpacked(unpack, chunk, limit + 1 - len(body))
        if len(body) > limit:
            return None
    if unpack is not None and body and not unpack.eof:
        raise UnusableBody
    return bytes(body)


def _unpacked(unpack: zlib._Decompress, chunk: bytes, most: int) -> bytes:
    try:
        return unpack.decompress(chunk, most)
    except zlib.error:
        raise UnusableBody from None


def parse_json(text: str | bytes) -> Any:
    """A JSON document; raises ValueError for what is none, or is nested too deeply.

    A number that only Python accepts (NaN) is null, and so is an integer of a thousand digits.
    """
    try:
        document = json.loads(text, parse_constant=_nothing)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        # An integer that Python refuses to read, or bytes that are no text: those fail again.
        document = json.loads(text, parse_constant=_nothing, parse_int=_integer)
    if is_too_deep(document):
        raise ValueError("nested too deeply")
    return document


def is_too_deep(document: object, levels: int = _DEEPEST) -> bool:
    """Whether a document has more levels than are walked over without care."""
    level = [document]
    for _ in range(levels):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else _items(node))
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def number(value: object, default: float, low: float, high: float) -> float:
    """A number of a document, kept within bounds; `default` for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return default
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return default
    return default if math.isnan(found) else min(max(found, low), high)


def object_or_empty(value: object) -> dict[str, Any]:
    """An object of a document; an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def text_or_none(value: object) -> str | None:
    """A non-empty text of a document, else None. Half a surrogate pair is no text."""
    if not isinstance(value, str) or not value:
        return None
    return value.encode("utf-8", "replace").decode()


def _items(node: object) -> list[Any]:
    return node if isinstance(node, list) else []


def _nothing(_: str) -> None:
    return None


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else None
