"""The ranges at which the files of one folder are read alike: headers, footers, one variable.

Of the last files that were read, each has two sets of granules: counted from its start and from its
end. What three of them have in common is expected of the others of similar size. Pure: no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from provenafs.content.cache.segment import GRANULE
from provenafs.content.reading.runs import Range

_FILES = 8  # compared
_ALIKE = 3  # that make a pattern
_SIMILAR = 1.25  # times the size
_LARGEST = 16 * 1024**3  # bytes; sets of larger files take too much memory


@dataclass(slots=True)
class _FileReads:
    """Granules that were read, as bits, from the start and from the end."""

    size: int
    from_start: int = 0
    from_end: int = 0


class AlikeReads:
    """The last files of a folder that were read."""

    def __init__(self) -> None:
        self._files: OrderedDict[int, _FileReads] = OrderedDict()

    def note(self, file: int, size: int, start: int, end: int) -> None:
        """[start, end) of a file of `size` bytes is read."""
        if size > _LARGEST:
            return
        reads = self._files.get(file)
        if reads is None or reads.size != size:
            reads = self._files[file] = _FileReads(size)
            if len(self._files) > _FILES:
                self._files.popitem(last=False)
        reads.from_start |= _granules(start, end)
        reads.from_end |= _granules(size - end, size - start)

    def expected(self, size: int) -> list[Range]:
        """What is likely read of a file of `size` bytes, in order."""
        files = [each for each in self._files.values() if is_similar(each.size, size)]
        if len(files) < _ALIKE:
            return []
        ranges = list(_ranges(_common(each.from_start for each in files)))
        if any(abs(each.size - size) >= GRANULE for each in files):
            ranges += [
                (size - end, size - start)
                for start, end in _ranges(_common(each.from_end for each in files))
            ]
        return _joined((max(0, start), min(end, size)) for start, end in ranges)


def is_similar(size: int, other: int) -> bool:
    """Whether two files are about as large."""
    return max(size, other) <= _SIMILAR * min(size, other)


def _granules(start: int, end: int) -> int:
    first, last = start // GRANULE, -(-end // GRANULE)
    return (1 << last) - (1 << first)


def _common(sets: Iterable[int]) -> int:
    """What at least three sets have."""
    once = twice = thrice = 0
    for each in sets:
        thrice |= twice & each
        twice |= once & each
        once |= each
    return thrice


def _ranges(granules: int) -> Iterator[Range]:
    position = 0
    while granules:
        skipped = (granules & -granules).bit_length() - 1
        granules >>= skipped
        length = (~granules & (granules + 1)).bit_length() - 1
        granules >>= length
        start = position + skipped
        position = start + length
        yield start * GRANULE, position * GRANULE


def _joined(ranges: Iterable[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
