"""Reading one version of an object through a file handle."""

from __future__ import annotations

import bisect
import errno
from collections.abc import Callable
from operator import attrgetter

from provenafs.content.reading.access_pattern import AccessPattern
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.fetched_range import FetchedRange, Purpose
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.runs import Range
from provenafs.errors import FSError
from provenafs.guard import Background

_start_of = attrgetter("start")


class Reader:
    """An open object version, read ahead where it is read in sequence.

    Its blocks are sorted and do not overlap. Between a look at them and a change to them there is
    no checkpoint.
    """

    def __init__(
        self,
        source: ObjectSource,
        budget: ReadAheadBudget,
        nursery: Background,
        first_read: Callable[[], FetchedRange | None] = lambda: None,
    ) -> None:
        """`nursery` owns the requests; `first_read` may have the whole object ready."""
        self._source = source
        self._budget = budget
        self._nursery = nursery
        self._first_read: Callable[[], FetchedRange | None] | None = first_read
        self._access = AccessPattern(source.size)
        self._blocks: list[FetchedRange] = []

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`. ESTALE if the object was changed or deleted."""
        length = min(size, self._source.size - offset)
        if length <= 0:
            return b""
        if self._first_read is not None:
            self._begin()
        self._fetch_wanted(offset, length)
        parts = await self._parts(offset, offset + length)
        self._drop_unneeded()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        """Give up what was read ahead."""
        self._drop(self._blocks)
        self._budget.forget(self)

    def shed(self) -> None:
        """Drop what nobody waits for; it is fetched again if it is read after all."""
        self._drop(
            [
                block
                for block in self._blocks
                if block.purpose is Purpose.AHEAD or block.done.is_set()
            ]
        )

    def _begin(self) -> None:
        assert self._first_read is not None
        block = self._first_read()
        self._first_read = None
        if block is not None:
            self._blocks.append(block)

    def _fetch_wanted(self, offset: int, length: int) -> None:
        self._budget.touch(self)
        wanted = self._access.read(offset, length, self._budget.share())
        for start, end in self._missing(wanted.now):
            self._budget.take(end - start)
            self._start(start, end, Purpose.NOW)
        for ahead in wanted.ahead:
            for start, end in self._missing(ahead):
                if not self._started_ahead(start, end):
                    self._access.fell_short(start)
                    return
        for place in wanted.places:
            for start, end in self._missing(place):
                self._started_ahead(start, end)

    def _started_ahead(self, start: int, end: int) -> bool:
        is_room = self._budget.try_take(end - start, self)
        if is_room:
            self._start(start, end, Purpose.AHEAD)
        return is_room

    async def _parts(self, position: int, end: int) -> list[memoryview]:
        """The bytes of [position, end), block by block."""
        parts: list[memoryview] = []
        while position < end:
            block = self._block_at(position)
            if block is None:
                start, stop = self._missing((position, end))[0]
                self._budget.take(stop - start)
                block = self._start(start, stop, Purpose.NOW)
            await block.done.wait()
            if block.data is not None:
                part = block.part(position, end)
                if not part:
                    message = f"the bytes from {position} on were not received"
                    raise FSError(errno.EIO, message)
                position += len(part)
                parts.append(part)
                continue
            self._forget(block)
            if block.purpose is Purpose.NOW:
                raise block.error or FSError(errno.EIO, "the mount is ending")
        return parts

    def _start(self, start: int, end: int, purpose: Purpose) -> FetchedRange:
        block = FetchedRange(self._budget, start, end, purpose)
        bisect.insort(self._blocks, block, key=_start_of)
        self._nursery.start_soon(self._fetch, block)
        return block

    async def _fetch(self, block: FetchedRange) -> None:
        try:
            await block.fetch(self._source)
        finally:
            if block.data is None:
                self._forget(block)

    def _forget(self, block: FetchedRange) -> None:
        if block in self._blocks:
            self._blocks.remove(block)

    def _block_at(self, position: int) -> FetchedRange | None:
        index = bisect.bisect_right(self._blocks, position, key=_start_of) - 1
        if index < 0 or self._blocks[index].end <= position:
            return None
        return self._blocks[index]

    def _missing(self, wanted: Range) -> list[Range]:
        """The parts of a range that no block has."""
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

    def _drop_unneeded(self) -> None:
        self._drop(
            [
                block
                for block in self._blocks
                if block.unread <= 0 or not self._access.keeps(block.start, block.end)
            ]
        )

    def _drop(self, blocks: list[FetchedRange]) -> None:
        for block in blocks:
            block.drop()
        dropped = set(map(id, blocks))
        self._blocks = [block for block in self._blocks if id(block) not in dropped]
