"""What to fetch for a read, and what to keep: windows of sequential streams, places at equal
distances, and the rest of a run that is likely as long as those before it. Pure: no I/O.

A handle may carry several interleaved streams. A read that continues one makes its window grow in
proportion to what was read in sequence; any other read starts a stream of its own, which has no
window until it is continued. Streams not used for a while are forgotten, and what was fetched for
them with them. What was fetched at equal distances is kept until it is read.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from provenafs.content.cache.segment import GRANULE
from provenafs.content.reading.lattice import Lattice
from provenafs.content.reading.runs import Range, Run, Runs
from provenafs.content.reading.strides import Strides
from provenafs.lib.parallelism import FIRST

SMALL_READ = 128 * 1024  # bytes fetched for a smaller read out of sequence
WHOLE_OBJECT = 512 * 1024  # bytes; up to here an object is fetched in one piece
LONGEST_PIECE = 8 * 1024 * 1024
LONGEST_WINDOW = 72 * 1024 * 1024
_SHORTEST_PIECE = 256 * 1024
_SHORTEST_LATER_PIECE = 2 * 1024 * 1024  # each costs a request
# A window is four times what was read in sequence, so that a stream is soon at full speed. Beyond
# the quick start it is half of that, so that of a large variable no more than half is fetched in
# vain, and of a small one no more than a round trip costs.
_QUICK_GROWTH = 4
_QUICK_START = 4 * 1024 * 1024
_QUICK_PIECES = 4  # a window is fetched in so many requests at once, or a few more
_PIECES = 2  # of a longer window, at least
# More than is under way, so that a range that is late does not hold up those after it.
_LATE = 8  # for so many ranges one
# The kernel sends parts of its own read-ahead at once, so that they come in any order.
_SLACK = 1024 * 1024
_STREAMS = 16
_EXPECTED = 80  # places kept until they are read: of two strides, and more
_LONGEST_LIKELY = 4 * 1024 * 1024  # bytes of a run fetched before it is seen to be one
_LIKELY_PIECE = 2 * 1024 * 1024
_ALIKE = 1.5  # runs whose lengths differ by less are of one kind


@dataclass(slots=True)
class _Stream:
    """Reads in sequence: the next is expected at `position`; fetched is up to `ahead`."""

    position: int
    ahead: int
    sequential: int  # bytes read in sequence, less what was skipped

    def continues(self, offset: int) -> bool:
        return self.position - _SLACK <= offset <= max(self.position + _SLACK, self.ahead)

    def distance(self, offset: int) -> int:
        return abs(offset - self.position)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The range a read needs now, and those to be fetched beside it.

    `ahead` are those that follow, in order of use; `places` others of equal distances.
    """

    now: Range
    ahead: tuple[Range, ...] = ()
    places: tuple[Range, ...] = ()


class AccessPattern:
    """The pattern in which one handle reads an object of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._streams: list[_Stream] = []  # the one used last at the end
        self._runs = Runs()
        self._strides = Strides(size)
        self._lattice = Lattice(size)
        self._expected: deque[Range] = deque(maxlen=_EXPECTED)  # fetched at equal distances

    def read(self, offset: int, length: int, limit: int, at_once: int = FIRST) -> Wanted:
        """Note a read and say what to fetch; `limit` is the longest window in bytes.

        A window is cut so that `at_once` ranges of it are under way together.
        """
        end = offset + length
        now = self._aligned(offset, end)
        self._forget_expected(now)
        run, is_new = self._runs.read(offset, end)
        stream = self._continued(offset)
        places = self._beside(run, limit, is_apart=stream is None) if is_new else ()
        if stream is None:
            stream = _Stream(end, now[1], length)
            self._begin(stream)
            return Wanted(now, self._likely(stream, run, limit), places)
        skipped = max(0, offset - stream.position)
        stream.sequential = max(0, stream.sequential + length - skipped)
        stream.position = max(stream.position, end)
        if stream.sequential == 0:
            stream.ahead = now[1]
            return Wanted(now, self._likely(stream, run, limit) if is_new else (), places)
        at_once = max(_PIECES, at_once)
        limit = min(limit, LONGEST_WINDOW, (at_once + -(-at_once // _LATE)) * LONGEST_PIECE)
        window = min(_window(stream.sequential), limit, self._rest(run))
        return Wanted(now, self._pieces(stream, now[1], window, _piece(window, at_once)), places)

    def fell_short(self, start: int) -> None:
        """The range ahead that begins at `start` is not fetched: there is no room for it."""
        self._streams[-1].ahead = min(self._streams[-1].ahead, start)

    def keeps(self, start: int, end: int) -> bool:
        """Whether a stream may still need bytes of [start, end)."""
        if self._size <= WHOLE_OBJECT or any(
            _overlap(each, (start, end)) for each in self._expected
        ):
            return True
        return any(
            start < stream.ahead and end > stream.position - _SLACK for stream in self._streams
        )

    def _continued(self, offset: int) -> _Stream | None:
        found = [stream for stream in self._streams if stream.continues(offset)]
        if not found:
            return None
        stream = min(found, key=lambda each: each.distance(offset))
        self._streams.remove(stream)
        self._streams.append(stream)
        return stream

    def _begin(self, stream: _Stream) -> None:
        self._streams.append(stream)
        del self._streams[:-_STREAMS]

    def _beside(self, run: Run, limit: int, *, is_apart: bool) -> tuple[Range, ...]:
        """Other places, for a run that begins; apart from all streams it may be of a lattice."""
        found = self._strides.read(run, limit)
        if not found and is_apart and run.length < SMALL_READ:
            found = self._lattice.read(run.start, run.end)
        ranges = tuple(self._aligned(*each) for each in found)
        self._expected.extend(ranges)
        return ranges

    def _likely(self, stream: _Stream, run: Run, limit: int) -> tuple[Range, ...]:
        """The rest of a run that has begun, as long as each of the last ones was."""
        before = self._runs.before(run)
        if before is None:
            return ()
        length = min(before.least, _LONGEST_LIKELY, limit)
        start = stream.ahead
        stream.ahead = max(start, self._aligned(run.start, run.start + length)[1])
        return tuple(
            (at, min(at + _LIKELY_PIECE, stream.ahead))
            for at in range(start, stream.ahead, _LIKELY_PIECE)
        )

    def _rest(self, run: Run) -> int:
        """How many bytes of a run are still to come, if it is like those before it."""
        before = self._runs.before(run)
        if before is None or run.length > before.most:
            return LONGEST_WINDOW
        if before.most > _ALIKE * before.least + SMALL_READ:
            return LONGEST_WINDOW
        return before.most - run.length + GRANULE

    def _forget_expected(self, read: Range) -> None:
        if not self._expected:
            return
        for each in [each for each in self._expected if _overlap(each, read)]:
            self._expected.remove(each)

    def _aligned(self, offset: int, end: int) -> Range:
        if self._size <= WHOLE_OBJECT:
            return 0, self._size
        unit = SMALL_READ if end - offset < SMALL_READ else GRANULE
        return offset // unit * unit, min(-(-end // unit) * unit, self._size)

    def _pieces(self, stream: _Stream, needed: int, window: int, piece: int) -> tuple[Range, ...]:
        start = max(stream.ahead, needed)
        target = min(stream.position + window, self._size)
        pieces: list[Range] = []
        while start + piece <= target or (start < target == self._size):
            pieces.append((start, min(start + piece, self._size)))
            start = pieces[-1][1]
        stream.ahead = start
        return tuple(pieces)


def _overlap(one: Range, other: Range) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _window(sequential: int) -> int:
    return min(_QUICK_GROWTH * sequential, max(_QUICK_START, sequential // 2))


def _piece(window: int, at_once: int) -> int:
    """A power of two, so that memory of the same size is used again and again."""
    if window <= _QUICK_START:
        piece = max(window // _QUICK_PIECES, _SHORTEST_PIECE)
    else:
        under_way = window * _LATE // (_LATE + 1)
        piece = max(under_way // at_once, _SHORTEST_LATER_PIECE)
    return min(1 << piece.bit_length() - 1, LONGEST_PIECE)
