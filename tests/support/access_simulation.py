"""Reading an object without one: what an access pattern would fetch."""

from __future__ import annotations

from provenafs.content.cache.segment import GRANULE
from provenafs.content.reading.access_pattern import AccessPattern
from provenafs.content.reading.runs import Range
from provenafs.lib.parallelism import FIRST

KIB, MIB, GIB = 1024, 1024**2, 1024**3


class Simulation:
    """Reads an object and notes what is fetched, as if every fetch took no time."""

    def __init__(self, size: int, limit: int = 128 * MIB, at_once: int = FIRST) -> None:
        self.size = size
        self.limit = limit
        self.at_once = at_once
        self.access = AccessPattern(size)
        self.fetched: list[Range] = []

    def read(self, offset: int, length: int) -> list[Range]:
        length = min(length, self.size - offset)
        wanted = self.access.read(offset, length, self.limit, self.at_once)
        assert wanted.now[0] <= offset
        assert offset + length <= wanted.now[1] <= self.size
        new: list[Range] = []
        for start, end in (wanted.now, *wanted.ahead, *wanted.places):
            assert 0 <= start < end <= self.size
            assert start % GRANULE == 0
            assert end % GRANULE == 0 or end == self.size
            new += self._missing(start, end)
            self.fetched = sorted([*self.fetched, *self._missing(start, end)])
        return new

    def waits(self, offset: int, length: int) -> bool:
        """Read; whether any of the bytes asked for had not been fetched before."""
        is_missing = bool(self._missing(offset, min(offset + length, self.size)))
        self.read(offset, length)
        return is_missing

    def _missing(self, position: int, end: int) -> list[Range]:
        missing = []
        for start, stop in self.fetched:
            if stop <= position or start >= end:
                continue
            if start > position:
                missing.append((position, start))
            position = stop
        return [*missing, (position, end)] if position < end else missing

    @property
    def moved(self) -> int:
        return sum(end - start for start, end in self.fetched)
