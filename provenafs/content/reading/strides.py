"""Reads at equal distances: a chunk of each step, a column of each row group, the nodes of an
index. Pure: no I/O.

The classical stride prefetcher, as processors have it. A distance that is seen three times in a row
makes a stride; a handle may follow several at once, and what belongs to none does not disturb them.
With each read that was expected more places are fetched ahead of it, 32 at most, and fewer where
places are passed over; after a stride that was wrong it takes more than three distances.
"""

from __future__ import annotations

from collections import deque

from provenafs.content.reading.runs import Range, Run

AHEAD = 32  # places in flight at most
_SHORTEST = 64 * 1024  # bytes from place to place
_TOLERANCE = 16 * 1024  # bytes: chunks are not as long as the next, and nodes lie between them
_TOLERATED = 16  # of shorter distances, one part in so many
_DISTANCES = 3
_MOST_DISTANCES = 12
_REMEMBERED = 16  # places that belong to no stride
_STRIDES = 4
_PASSED_OVER = 4  # places at once that are still the same stride
_LENGTHS = 4
_FIRST_AHEAD = 2
_MORE_AHEAD = 2  # with each read that was expected
_PROVEN = 8  # expected reads, after which a stride was right


class Strides:
    """The strides of one handle on an object of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._places: deque[Run] = deque(maxlen=_REMEMBERED)
        self._strides: list[_Stride] = []  # the one used last at the end
        self._distances = _DISTANCES  # that make a stride

    def read(self, run: Run, limit: int) -> list[Range]:
        """Note that `run` begins, and say what to fetch; `limit` is the most bytes ahead."""
        for stride in reversed(self._strides):
            if stride.expects(run.start):
                if stride is not self._strides[-1]:
                    self._strides.remove(stride)
                    self._strides.append(stride)
                stride.advance(run)
                if stride.is_left:
                    self._strides.remove(stride)
                    return []
                if stride.is_proven:
                    self._distances = _DISTANCES
                return stride.ahead(limit, self._size)
        found = self._found(run)
        self._places.append(run)
        if found is None:
            return []
        self._strides.append(found)
        self._forget(self._strides[:-_STRIDES])
        return found.ahead(limit, self._size)

    def _forget(self, strides: list[_Stride]) -> None:
        for stride in strides:
            self._strides.remove(stride)
            if stride.was_wrong:
                self._distances = min(2 * self._distances, _MOST_DISTANCES)

    def _found(self, run: Run) -> _Stride | None:
        for other in reversed(self._places):
            distance = run.start - other.start
            if abs(distance) < _SHORTEST:
                continue
            chain = self._chain(run, distance)
            if len(chain) > self._distances:
                for each in chain[1:]:
                    self._places.remove(each)
                return _Stride(chain[::-1])
        return None

    def _chain(self, run: Run, distance: int) -> list[Run]:
        """The places that are so far apart before `run`, which comes first."""
        tolerance = _tolerance(distance)
        chain = [run]
        while len(chain) <= self._distances:
            place = chain[-1].start - distance
            before = min(self._places, key=lambda each: abs(each.start - place), default=None)
            if before is None or abs(before.start - place) > tolerance or before in chain:
                break
            chain.append(before)
        return chain


class _Stride:
    """Places at equal distances, numbered from the first that was seen."""

    def __init__(self, runs: list[Run]) -> None:
        """`runs` in order of use, more than one."""
        self._origin = runs[0].start
        self._number = len(runs) - 1
        self._place = runs[-1].start
        self._tolerance = _tolerance((self._place - self._origin) / self._number)
        self._lengths: deque[Run] = deque(runs, maxlen=_LENGTHS)
        self._expected: dict[int, int] = {}  # places fetched and not read, by number
        self._fetched = self._number  # the last place fetched
        self._spread = 0  # bytes by which places were off
        self._depth = _FIRST_AHEAD
        self._hits = 0
        self._misses = 0
        self._longer_steps = 0  # in a row

    @property
    def was_wrong(self) -> bool:
        """Whether more was fetched in vain than read."""
        return self._hits < len(self._expected) + self._misses

    @property
    def is_proven(self) -> bool:
        """Whether it was right for some time."""
        return self._hits >= _PROVEN and not self.was_wrong

    @property
    def is_left(self) -> bool:
        """Whether the reader takes longer steps by now."""
        return self._longer_steps >= _DISTANCES

    @property
    def distance(self) -> float:
        """The average so far, in bytes: what lies between the places now and then is spread."""
        return (self._place - self._origin) / self._number

    def expects(self, place: int) -> bool:
        """Whether the next place, or one of a few after it, is here, or one was a short ago."""
        number, off = self._nearest(place)
        return off <= self._tolerance and -_PASSED_OVER <= number <= _PASSED_OVER

    def advance(self, run: Run) -> None:
        """Note a read that was expected."""
        steps, _ = self._nearest(run.start)
        number = self._number + steps
        expected = self._expected.pop(number, None)
        if expected is not None:
            spread = max(abs(run.start - expected), self._spread * 7 // 8)
            self._spread = min(spread, 2 * _TOLERANCE)
        if steps <= 0:
            return
        self._longer_steps = self._longer_steps + 1 if steps > 1 else 0
        self._number, self._place = number, run.start
        self._lengths.append(run)
        passed = [each for each in self._expected if each < number - _PASSED_OVER]
        for each in passed:
            del self._expected[each]
        self._misses += len(passed)
        self._hits += 1
        self._depth = max(self._depth // 2, 1) if passed else min(self._depth + _MORE_AHEAD, AHEAD)

    def ahead(self, limit: int, size: int) -> list[Range]:
        """The places to fetch now, nearest first; less than `limit` bytes ahead."""
        # The run that has just begun may become as long as those before it.
        length = max(run.length for run in self._lengths)
        depth = min(self._depth, limit // (length + self._tolerance))
        first, last = max(self._fetched, self._number) + 1, self._number + depth
        ranges: list[Range] = []
        for number in range(first, last + 1):
            place = int(self._place + (number - self._number) * self.distance)
            start, end = max(place - self._spread, 0), min(place + self._spread + length, size)
            if start >= end:
                break
            self._expected[number] = place
            self._fetched = number
            ranges.append((start, end))
        return ranges

    def _nearest(self, place: int) -> tuple[int, float]:
        """How many places further on, and by how many bytes it is not."""
        distance = self.distance
        steps = round((place - self._place) / distance)
        return steps, abs(place - self._place - steps * distance)


def _tolerance(distance: float) -> int:
    return min(_TOLERANCE, int(abs(distance)) // _TOLERATED)
