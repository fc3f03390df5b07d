"""A range of an object in memory, or being fetched."""

from __future__ import annotations

import logging
from enum import Enum

import trio

from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.object_source import ObjectSource

log = logging.getLogger(__name__)


class Purpose(Enum):
    """Why a block is fetched."""

    NOW = 1  # a reader waits: retried until the deadline
    AHEAD = 2  # prefetched: tried once, and again when a reader waits
    KEEP = 3  # for the cache: tried once


class FetchedRange:
    """The bytes [start, end) of an object version.

    They count in the budget until the block is dropped; if that is while it is on its way or being
    written to the cache, until that is over, since a thread cannot be stopped.
    """

    __slots__ = (
        "_budget", "_counted", "_dropped", "_is_over",
        "data", "done", "end", "error", "purpose", "start", "unread",
    )  # fmt: skip

    def __init__(self, budget: ReadAheadBudget, start: int, end: int, purpose: Purpose) -> None:
        """The caller has taken the bytes from `budget`."""
        self.start = start
        self.end = end
        self.purpose = purpose
        self.unread = end - start
        self.data: memoryview | None = None
        self.error: Exception | None = None
        self.done = trio.Event()
        self._budget = budget
        self._counted = True
        self._dropped = False
        self._is_over = False

    async def fetch(self, source: ObjectSource) -> None:
        """Get the bytes; a failure is kept in `error`, for those who wait."""
        try:
            await self._get(source)
            if self.data is not None:
                await source.keep(self.start, self.data)
        except Exception as error:  # a read does not fail for want of a cache
            size = self.end - self.start
            log.error("%d bytes of %s were not cached: %s", size, source.key, error)
        finally:
            self._is_over = True
            if self._dropped or self.data is None:
                self._give_back()

    async def _get(self, source: ObjectSource) -> None:
        try:
            retry = self.purpose is Purpose.NOW
            self.data = await source.fetch(self.start, self.end, retry=retry)
        except Exception as error:  # also of the credential source, which is not ours
            self.error = error
        finally:
            self.done.set()

    def drop(self) -> None:
        """Nobody will ask for it any more; those who wait for it still get it."""
        self._dropped = True
        if self._is_over:
            self._give_back()

    def part(self, start: int, end: int) -> memoryview:
        """The bytes of [start, end) of the object, as far as the block has them; no copy."""
        assert self.data is not None
        part = self.data[start - self.start : min(end, self.end) - self.start]
        self.unread -= len(part)
        return part

    def _give_back(self) -> None:
        if self._counted:
            self._counted = False
            self._budget.give_back(self.end - self.start)
            if self.purpose is Purpose.AHEAD and self.data is not None:
                self._budget.note_outcome(self.end - self.start, max(0, self.unread))
