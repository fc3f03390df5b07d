"""Ranges of one object version in memory or being fetched, by position."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from operator import attrgetter

from provenafs.content.reading.fetched_range import FetchedRange
from provenafs.content.reading.runs import Range

_start_of = attrgetter("start")


class HeldRanges:
    """Sorted, and without overlaps."""

    def __init__(self) -> None:
        self._blocks: list[FetchedRange] = []

    def __iter__(self) -> Iterator[FetchedRange]:
        return iter(self._blocks)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def add(self, block: FetchedRange) -> None:
        """Hold a range that overlaps none of those held."""
        bisect.insort(self._blocks, block, key=_start_of)

    def forget(self, block: FetchedRange) -> None:
        """Hold a range no longer; nothing if it is not held."""
        if block in self._blocks:
            self._blocks.remove(block)

    def drop(self, is_unneeded: Callable[[FetchedRange], bool]) -> None:
        """Give up ranges: nobody will ask for them any more."""
        dropped = [block for block in self._blocks if is_unneeded(block)]
        if not dropped:
            return
        for block in dropped:
            block.drop()
        gone = set(map(id, dropped))
        self._blocks = [block for block in self._blocks if id(block) not in gone]

    def at(self, position: int) -> FetchedRange | None:
        """The range that has the byte at `position`."""
        if not self._blocks:
            return None
        index = bisect.bisect_right(self._blocks, position, key=_start_of) - 1
        if index < 0 or self._blocks[index].end <= position:
            return None
        return self._blocks[index]

    def missing(self, wanted: Range) -> list[Range]:
        """The parts of a range that are not held."""
        position, end = wanted
        missing: list[Range] = []
        for block in self._blocks:
            if block.end <= position:
                continue
            if block.start >= end:
                break
            if block.start > position:
                missing.append((position, block.start))
            position = block.end
        if position < end:
            missing.append((position, end))
        return missing
