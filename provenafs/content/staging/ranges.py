"""A set of byte ranges of one file."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]  # first byte and the byte after the last


class Ranges:
    """Disjoint, sorted ranges [start, end) in bytes; ranges that touch are joined."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    def __hash__(self) -> int:
        raise TypeError("extents change")

    def __repr__(self) -> str:
        return f"Extents({list(self)})"

    @property
    def total(self) -> int:
        """How many bytes are in the set."""
        return sum(self._ends) - sum(self._starts)

    @property
    def end(self) -> int:
        """The byte after the last one in the set; 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def copy(self) -> Ranges:
        """An independent set of the same ranges."""
        twin = Ranges()
        twin._starts, twin._ends = self._starts.copy(), self._ends.copy()
        return twin

    def add(self, start: int, end: int) -> None:
        """Put [start, end) into the set."""
        if start >= end:
            return
        if self._ends and start > self._ends[-1]:
            self._starts.append(start)
            self._ends.append(end)
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        """Take [start, end) out of the set."""
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        if start >= end or first >= last:
            return
        left, right = self._starts[first], self._ends[last - 1]
        kept = [piece for piece in ((left, start), (end, right)) if piece[0] < piece[1]]
        self._starts[first:last] = [piece[0] for piece in kept]
        self._ends[first:last] = [piece[1] for piece in kept]

    def truncate(self, size: int) -> None:
        """Take out everything from `size` on."""
        self.remove(size, max(size, self.end))

    def clear(self) -> None:
        """Take out everything."""
        self._starts.clear()
        self._ends.clear()

    def covers(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is in the set."""
        return next(self.gaps(start, end), None) is None

    def touches(self, start: int, end: int) -> bool:
        """Whether any byte of [start, end) is in the set."""
        return next(self.within(start, end), None) is not None

    def within(self, start: int, end: int) -> Iterator[Range]:
        """The parts of [start, end) that are in the set, ascending."""
        position = bisect_right(self._ends, start)
        while start < end and position < len(self._starts) and self._starts[position] < end:
            yield max(start, self._starts[position]), min(end, self._ends[position])
            position += 1

    def gaps(self, start: int, end: int) -> Iterator[Range]:
        """The parts of [start, end) that are not in the set, ascending."""
        for known_start, known_end in self.within(start, end):
            if start < known_start:
                yield start, known_start
            start = known_end
        if start < end:
            yield start, end
