"""Small reads at multiples of one distance, in any order: the headers of a file's variables.

A library walks through such a file from place to place, in an order of its own, and waits for each.
Once a few places are seen to be multiples of one distance apart, the others are fetched beside the
read. Of a NetCDF-4 file of 20 variables one is read with 8 waits for the network so, and with 16
where only `strides` looks. Pure: no I/O.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from provenafs.content.reading.runs import Range

_PLACES = 4  # that tell a distance
_PLACES_TRIED = 12  # without a distance, the reads are at random
_SHORTEST = 2 * 1024 * 1024  # bytes from place to place: chance finds shorter distances anywhere
_MOST = 64  # distances between the first place and the last that are tried
_TOLERANCE = 16 * 1024  # bytes: a header is not as long as the next
AHEAD = 32  # places fetched at once, at most


class Lattice:
    """The places of one object, of `size` bytes, at which reads out of sequence began."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._places: list[int] = []  # ascending
        self._origin = 0
        self._distance = 0.0  # bytes; 0 until it is known
        self._spread = 0.0  # bytes by which places were off
        self._known: set[int] = set()  # numbers of places read or fetched, from the origin on
        self._hits = 0

    def read(self, offset: int, end: int) -> list[Range]:
        """Note a read out of sequence; the others that are worth making beside it."""
        is_new = self._note(offset)
        if not self._is_expected(offset) and not (is_new and self._find()):
            return []
        number, off = self._nearest(offset)
        self._spread = max(self._spread, off)
        self._known.add(number)
        self._hits += 1
        return [self._around(each, end - offset) for each in self._next(number)]

    def _note(self, place: int) -> bool:
        is_known = any(abs(place - other) <= _TOLERANCE for other in self._places)
        if is_known or len(self._places) >= _PLACES_TRIED:
            return False
        insort(self._places, place)
        return True

    def _is_expected(self, place: int) -> bool:
        return bool(self._distance) and self._nearest(place)[1] <= _TOLERANCE

    def _find(self) -> bool:
        """Look for the distance; whether there is one."""
        # What lies at the beginning may be longer than other headers.
        for places in (self._places, self._places[1:]):
            distance = _distance(places)
            if distance:
                self._origin, self._distance = places[0], distance
                nearest = [self._nearest(each) for each in places]
                self._known = {number for number, _ in nearest}
                self._spread = max(off for _, off in nearest)
                return True
        return False

    def _nearest(self, place: int) -> tuple[int, float]:
        return _nearest(place - self._origin, self._distance)

    def _next(self, number: int) -> list[int]:
        """Where there are few, all; otherwise those that follow, more with each that was right."""
        first = -int(self._origin // self._distance)
        last = int((self._size - 1 - self._origin) // self._distance)
        if last - first >= AHEAD:
            first, last = number + 1, min(last, number + min(2 * self._hits, AHEAD))
        numbers = [each for each in range(first, last + 1) if each not in self._known]
        self._known.update(numbers)
        return numbers

    def _around(self, number: int, length: int) -> Range:
        place = self._origin + number * self._distance
        start = max(0, int(place - self._spread))
        return start, min(int(place + self._spread) + length, self._size)


def _distance(places: Sequence[int]) -> float:
    """The longest distance of which all places are multiples apart; 0 if there is none."""
    if len(places) < _PLACES:
        return 0.0
    first, span = places[0], places[-1] - places[0]
    for count in range(len(places) - 1, min(_MOST, span // _SHORTEST) + 1):
        distance = span / count
        if all(_nearest(place - first, distance)[1] <= _TOLERANCE for place in places):
            return distance
    return 0.0


def _nearest(length: int, distance: float) -> tuple[int, float]:
    """How many distances a length is, and by how many bytes it is not."""
    number = round(length / distance)
    return number, abs(length - number * distance)
