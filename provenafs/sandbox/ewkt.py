"""The syntax check of the registry for geometries: `SRID=<digits>;<WKT>`."""

from __future__ import annotations

import re
from collections.abc import Callable

_SRID = re.compile(r"SRID=(\d+);(.*)", re.DOTALL)
_TOKEN = re.compile(r"\s*([A-Za-z]+|[(),]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_EPSG_CODES = range(1024, 32768)
_DEPTHS = {
    "POINT": 0,
    "LINESTRING": 1,
    "MULTIPOINT": 1,
    "POLYGON": 2,
    "MULTILINESTRING": 2,
    "MULTIPOLYGON": 3,
}
_COLLECTION = "GEOMETRYCOLLECTION"


def ewkt_fault(text: str) -> str | None:
    """What is wrong with an EWKT text, or None. Of an EPSG code only the range is checked."""
    match = _SRID.fullmatch(text)
    if match is None:
        return "it does not have the form SRID=<code>;<WKT>."
    if int(match[1]) not in _EPSG_CODES:
        return f"{match[1]} is not a valid EPSG code."
    try:
        parser = _Parser(match[2])
        parser.geometry()
        parser.end()
    except _SyntaxFault as fault:
        return f"the geometry cannot be parsed: {fault}."
    return None


class _SyntaxFault(Exception):
    """The text is no WKT."""


class _Parser:
    """Recursive descent over the tokens of one WKT text."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _SyntaxFault(f"unexpected {text[position]!r}")
            self._tokens.append(match[1].upper())
            position = match.end()
        self._tokens.append("the end")
        self._next = 0

    def geometry(self) -> None:
        kind = self._take()
        if kind != _COLLECTION and kind not in _DEPTHS:
            raise _SyntaxFault(f"unknown geometry {kind!r}")
        if self._tokens[self._next] in ("Z", "M", "ZM"):
            self._take()
        if self._tokens[self._next] == "EMPTY":
            self._take()
        elif kind == _COLLECTION:
            self._several(self.geometry)
        elif kind == "POINT":
            self._expect("(")
            self._position()
            self._expect(")")
        else:
            self._nested(_DEPTHS[kind])

    def end(self) -> None:
        self._expect("the end")

    def _nested(self, depth: int) -> None:
        self._several(self._bare_or_wrapped if depth == 1 else lambda: self._nested(depth - 1))

    def _bare_or_wrapped(self) -> None:
        wrapped = self._tokens[self._next] == "("
        if wrapped:
            self._take()
        self._position()
        if wrapped:
            self._expect(")")

    def _several(self, one: Callable[[], None]) -> None:
        self._expect("(")
        one()
        while self._tokens[self._next] == ",":
            self._take()
            one()
        self._expect(")")

    def _position(self) -> None:
        numbers = 0
        while self._tokens[self._next][0] in "+-.0123456789":
            self._take()
            numbers += 1
        if not 2 <= numbers <= 4:
            raise _SyntaxFault(f"a position of {numbers} numbers")

    def _take(self) -> str:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, token: str) -> None:
        taken = self._take()
        if taken != token:
            raise _SyntaxFault(f"{token!r} expected, not {taken!r}")
