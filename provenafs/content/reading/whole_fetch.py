"""Fetches a whole object once its single ranges have cost as much: the ski rental problem.

Nobody knows how much of an object will be read. Where readers have waited for ranges that nothing
foresaw as long as it takes to fetch all that is missing, it is fetched in the background: whatever
they read afterwards, they wait no more than twice as long as the better of both would have made
them (Karlin, Manasse, Rudolph, Sleator: Competitive Snoopy Caching, 1988).
"""

from __future__ import annotations

import logging

import trio

from provenafs.content.cache.block_cache import BlockCache
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.fetched_range import FetchedRange, Purpose
from provenafs.content.reading.object_reads import ObjectReads
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.runs import Range
from provenafs.content.reading.waiting import WaitingTime
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.calls import S3Context
from provenafs.s3.throughput import Throughput

log = logging.getLogger(__name__)

_PART = 0.5
_LEAST_WAITS = 4
_SMALLEST = 1024 * 1024  # bytes; less is soon there anyway
_PIECE = 4 * 1024 * 1024
_AT_ONCE = 10  # pieces, of all objects together
_LEFT_TO_READERS = 0.5  # of the requests at once
_LOOK_S = 0.02  # until it is tried again where others come first
_PAUSE_S = 1.0  # after a refusal
_IDLE_S = 2.0  # without a read it pauses, and after some more it is given up
_GIVE_UP_S = 5.0
_REST_S = 10.0  # before a given up one may begin again
_FAILURES = 5
_UNKEPT = 3  # pieces that the cache did not take


def is_due(waited: WaitingTime, missing: int, throughput: Throughput) -> bool:
    """Whether that would have been enough time for a good part of the `missing` bytes.

    Half: it costs bytes, but no time, since readers go on meanwhile and come first. A few waits say
    nothing: of many files a little is read of each.
    """
    is_enough = waited.seconds >= _PART * throughput.seconds_for(missing)
    return is_enough and waited.times >= _LEAST_WAITS


class WholeFetches:
    """Decides which objects are fetched whole, and owns the places for their pieces."""

    def __init__(
        self, blocks: BlockCache, s3: S3Context, budget: ReadAheadBudget, nursery: Background
    ) -> None:
        self.blocks = blocks
        self.s3 = s3
        self.budget = budget
        self.fetched = 0  # bytes, so far
        self.pieces = trio.CapacityLimiter(max(1, min(_AT_ONCE, budget.limit // 2 // _PIECE)))
        self._nursery = nursery

    def waited_for(self, source: ObjectSource, reads: ObjectReads) -> None:
        """A reader has waited for bytes of an object; fetch it whole if that is due."""
        now = trio.current_time()
        if reads.is_fetched_whole or now < reads.not_before or source.size < _SMALLEST:
            return
        missing = source.size - source.cached_bytes
        if not missing or not is_due(reads.waited, missing, self.s3.throughput):
            return
        if not self.blocks.has_room_for(source.size, missing):
            reads.not_before = now + _REST_S
            return
        reads.waited.reset()
        reads.is_fetched_whole = True
        self._nursery.start_soon(_WholeFetch(self, source, reads).run)


class _WholeFetch:
    """One object version being fetched, those of its pieces first that are nearest to a read."""

    def __init__(self, owner: WholeFetches, source: ObjectSource, reads: ObjectReads) -> None:
        self._owner = owner
        self._source = source
        self._reads = reads
        self._pieces = _pieces(source.absent(0, source.size))
        self._failures = 0
        self._unkept = 0
        self._is_over = False

    async def run(self) -> None:
        """Until all is in the cache, or it is given up."""
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(int(self._owner.pieces.total_tokens)):
                    nursery.start_soon(self._fetch_pieces)
        finally:
            self._reads.is_fetched_whole = False
            if self._pieces:
                self._reads.not_before = trio.current_time() + _REST_S

    async def _fetch_pieces(self) -> None:
        while self._pieces and not self._is_over:
            async with self._owner.pieces:
                if self._pieces and self._may_fetch():
                    await self._fetch(self._next())
                    continue
            await trio.sleep(_LOOK_S)

    def _may_fetch(self) -> bool:
        """Whether a piece may be fetched now: demand comes first."""
        idle = trio.current_time() - self._reads.read_at
        if idle > _GIVE_UP_S:
            self._is_over = True
        reads = self._owner.s3.reads
        is_free = reads.borrowed_tokens < (1 - _LEFT_TO_READERS) * reads.total_tokens
        return idle <= _IDLE_S and is_free and self._owner.budget.has_room(_PIECE)

    def _next(self) -> Range:
        position = self._reads.position
        piece = min(self._pieces, key=lambda each: max(each[0] - position, position - each[1]))
        self._pieces.remove(piece)
        return piece

    async def _fetch(self, piece: Range) -> None:
        """The first of what neither the cache has of a piece nor anybody fetches."""
        parts = [
            part for absent in self._source.absent(*piece) for part in self._reads.missing(absent)
        ]
        if not parts:
            return
        start, end = parts[0]
        if parts[1:]:
            self._pieces.append((parts[1][0], piece[1]))
        if not self._owner.budget.try_take(end - start):
            self._pieces.append((start, end))
            return
        await self._fetch_block(FetchedRange(self._owner.budget, start, end, Purpose.KEEP))

    async def _fetch_block(self, block: FetchedRange) -> None:
        self._reads.shared.add(block)
        try:
            await block.fetch(self._source)
        finally:
            self._reads.shared.forget(block)
            block.drop()
        if block.data is None:
            await self._failed(block)
            return
        self._owner.fetched += block.end - block.start
        if self._source.absent(block.start, block.end):
            self._unkept += 1
            self._is_over = self._is_over or self._unkept >= _UNKEPT

    async def _failed(self, block: FetchedRange) -> None:
        self._pieces.append((block.start, block.end))
        self._failures += 1
        # A replaced object is no longer fetched; that is not a failure.
        if isinstance(block.error, FSError) or self._failures >= _FAILURES:
            self._is_over = True
            log.info("an object is not fetched whole: %s", block.error)
            return
        await trio.sleep(_PAUSE_S)


def _pieces(missing: list[Range]) -> list[Range]:
    """Cut at multiples of a piece."""
    return [
        (max(low, at), min(high, at + _PIECE))
        for low, high in missing
        for at in range(low // _PIECE * _PIECE, high, _PIECE)
    ]
