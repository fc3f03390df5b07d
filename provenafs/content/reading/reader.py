"""Reading one version of an object through a file handle."""

from __future__ import annotations

import errno
from collections.abc import Callable

from provenafs.content.reading.access_pattern import AccessPattern, Wanted
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.fetched_range import FetchedRange, Purpose
from provenafs.content.reading.held_ranges import HeldRanges
from provenafs.content.reading.object_reads import ObjectReads
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.runs import Range
from provenafs.errors import FSError
from provenafs.guard import Background


class Reader:
    """An open object version, read ahead where it is read in sequence.

    Between a look at what it holds and a change to it there is no checkpoint.
    """

    def __init__(
        self,
        source: ObjectSource,
        budget: ReadAheadBudget,
        nursery: Background,
        first_read: Callable[[], FetchedRange | None] = lambda: None,
        reads: ObjectReads | None = None,
    ) -> None:
        """`nursery` owns the requests; `first_read` may have the whole object ready.

        `reads` is what it shares with the other handles of the object version.
        """
        self._source = source
        self._budget = budget
        self._nursery = nursery
        self._first_read: Callable[[], FetchedRange | None] | None = first_read
        self._access = AccessPattern(source.size)
        self._held = HeldRanges()
        self._reads = reads or ObjectReads()
        self._is_whole: bool | None = None  # on disk; looked at when it may have changed

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`. ESTALE if the object was changed or deleted."""
        end = min(offset + size, self._source.size)
        if end <= offset:
            return b""
        if self._first_read is not None:
            self._begin()
        if self._block_at(offset) is None:
            data = self._source.read_now(offset, end)
            if data is not None:
                self._note_cached(offset, end)
                return data
        return await self._read(offset, end)

    def _note_cached(self, offset: int, end: int) -> None:
        """A read had to wait for nothing: it counts where others may have to."""
        if self._is_whole is None:
            self._is_whole = self._source.is_whole
        if not self._is_whole:
            self._fetch_beside(self._wanted(offset, end))

    async def _read(self, offset: int, end: int) -> bytes | memoryview:
        self._is_whole = None
        wanted = self._wanted(offset, end)
        if not wanted.ahead and self._block_at(offset) is None:
            data = await self._source.read_cached(offset, end)
            if data is not None:
                self._fetch_beside(wanted)
                return data
        self._fetch_now(wanted.now)
        self._fetch_beside(wanted)
        parts = await self._parts(offset, end)
        self._drop_unneeded()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        """Give up what was read ahead."""
        self._held.drop(lambda block: True)
        self._budget.forget(self)

    def shed(self) -> None:
        """Drop what nobody waits for; it is fetched again if it is read after all."""
        self._held.drop(lambda block: block.purpose is Purpose.AHEAD or block.done.is_set())

    def _begin(self) -> None:
        assert self._first_read is not None
        block = self._first_read()
        self._first_read = None
        if block is not None:
            self._held.add(block)

    def _wanted(self, offset: int, end: int) -> Wanted:
        self._budget.touch(self)
        self._reads.note(offset, end)
        share = self._budget.share()
        return self._access.read(offset, end - offset, share.size, share.at_once)

    def _fetch_now(self, wanted: Range) -> None:
        for start, end in self._missing(wanted):
            for low, high in self._source.pieces(start, end):
                self._budget.take(high - low)
                self._start(low, high, Purpose.NOW)

    def _fetch_beside(self, wanted: Wanted) -> None:
        for ahead in wanted.ahead:
            for start, end in self._missing(ahead):
                for low, high in self._source.pieces(start, end):
                    if not self._started_ahead(low, high):
                        self._access.fell_short(low)
                        return
        for place in wanted.places:
            for start, end in self._missing(place):
                for low, high in self._source.absent(start, end):
                    self._started_ahead(low, high)

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
            await self._wait(block)
            if block.data is not None:
                part = block.part(position, end)
                if not part:
                    message = f"the bytes from {position} on were not received"
                    raise FSError(errno.EIO, message)
                position += len(part)
                parts.append(part)
                continue
            self._held.forget(block)
            if block.purpose is Purpose.NOW:
                raise block.error or FSError(errno.EIO, "the mount is ending")
        return parts

    async def _wait(self, block: FetchedRange) -> None:
        if block.done.is_set():
            return
        if block.purpose is not Purpose.NOW:
            await block.done.wait()
            return
        with self._reads.waiting(self._source):
            await block.done.wait()

    def _start(self, start: int, end: int, purpose: Purpose) -> FetchedRange:
        block = FetchedRange(self._budget, start, end, purpose)
        self._held.add(block)
        self._reads.under_way.add(block)
        self._nursery.start_soon(self._fetch, block)
        return block

    async def _fetch(self, block: FetchedRange) -> None:
        try:
            await block.fetch(self._source)
        finally:
            self._reads.under_way.discard(block)
            if block.data is None:
                self._held.forget(block)

    def _block_at(self, position: int) -> FetchedRange | None:
        return self._held.at(position) or self._reads.shared.at(position)

    def _missing(self, wanted: Range) -> list[Range]:
        """The parts of a range that are neither here nor on their way."""
        missing = self._held.missing(wanted)
        if self._reads.shared:
            missing = [part for each in missing for part in self._reads.shared.missing(each)]
        return missing

    def _drop_unneeded(self) -> None:
        self._held.drop(
            lambda block: block.unread <= 0 or not self._access.keeps(block.start, block.end)
        )
        self._reads.drop_read()
