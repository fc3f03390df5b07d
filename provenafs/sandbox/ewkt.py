"""The syntax check of the registry for geometries: `SRID=<digits>;<WKT>`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

_SRID = re.compile(r"SRID=(\d+);(.*)", re.DOTALL)
_TOKEN = re.compile(r"\s*([A-Za-z]+|[(),]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_EPSG_CODES = range(1024, 32768)
Part = TypeVar("Part")
_Position = tuple[float, float]


def ewkt_fault(text: str) -> str | None:
    """The fault in an EWKT text, or None. Of an EPSG code only the range is checked."""
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
        bodies: dict[str, Callable[[], object]] = {
            "POINT": self._point,
            "LINESTRING": self._line,
            "POLYGON": self._polygon,
            "MULTIPOINT": lambda: self._several(self._bare_or_wrapped),
            "MULTILINESTRING": lambda: self._several(self._line),
            "MULTIPOLYGON": lambda: self._several(self._polygon),
            "GEOMETRYCOLLECTION": lambda: self._several(self.geometry),
        }
        if kind not in bodies:
            raise _SyntaxFault(f"unknown geometry {kind!r}")
        if self._tokens[self._next] in ("Z", "M", "ZM"):
            self._take()
        if self._tokens[self._next] == "EMPTY":
            self._take()
        else:
            bodies[kind]()

    def end(self) -> None:
        self._expect("the end")

    def _polygon(self) -> None:
        for ring in self._several(self._line):
            if ring[0] != ring[-1]:
                raise _SyntaxFault("a ring of a polygon is not closed")

    def _line(self) -> list[_Position]:
        positions = self._several(self._position)
        if len(positions) < 2:
            raise _SyntaxFault("a line of one position")
        return positions

    def _point(self) -> None:
        self._expect("(")
        self._position()
        self._expect(")")

    def _bare_or_wrapped(self) -> None:
        if self._tokens[self._next] == "(":
            self._point()
        else:
            self._position()

    def _several(self, one: Callable[[], Part]) -> list[Part]:
        self._expect("(")
        parts = [one()]
        while self._tokens[self._next] == ",":
            self._take()
            parts.append(one())
        self._expect(")")
        return parts

    def _position(self) -> _Position:
        """Where a position is in the plane: whether a ring is closed is a matter of that alone."""
        numbers = []
        while self._tokens[self._next][0] in "+-.0123456789":
            numbers.append(float(self._take()))
        if not 2 <= len(numbers) <= 4:
            raise _SyntaxFault(f"a position of {len(numbers)} numbers")
        return numbers[0], numbers[1]

    def _take(self) -> str:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, token: str) -> None:
        taken = self._take()
        if taken != token:
            raise _SyntaxFault(f"{token!r} expected, not {taken!r}")
