"""A range of an object in memory, or on its way there."""

from __future__ import annotations

from enum import Enum

import trio

from provenafs.content.budget import Budget
from provenafs.content.source import Source
from provenafs.errors import FSError
from provenafs.s3.errors import S3Error


class Purpose(Enum):
    """Why a block is fetched."""

    NOW = 1  # somebody waits: retried until the deadline
    AHEAD = 2  # somebody may: tried once, and again when somebody waits


class Block:
    """The bytes [start, end) of an object version; its bytes count in the budget until dropped.

    A block dropped while on its way counts until its request is over: a thread cannot be stopped.
    """

    __slots__ = ("_budget", "_counted", "data", "done", "end", "error", "purpose", "start", "unread")

    def __init__(self, budget: Budget, start: int, end: int, purpose: Purpose) -> None:
        """The caller has counted the bytes in `budget`."""
        self.start = start
        self.end = end
        self.purpose = purpose
        self.unread = end - start
        self.data: memoryview | None = None
        self.error: S3Error | FSError | None = None
        self.done = trio.Event()
        self._budget = budget
        self._counted = True

    async def fetch(self, source: Source) -> None:
        """Get the bytes; failures are kept in `error`."""
        try:
            retry = self.purpose is Purpose.NOW
            self.data = await source.fetch(self.start, self.end, retry=retry)
        except (S3Error, FSError) as error:
            self.error = error
        finally:
            self.done.set()
            if self.data is None or not self._counted:
                self._give_back()

    def drop(self) -> None:
        """The owner needs it no more; those who wait for it still get it."""
        if self.done.is_set():
            self._give_back()
        else:
            self._counted = False

    def part(self, start: int, end: int) -> memoryview:
        """The bytes of [start, end) of the object, as far as the block has them; no copy."""
        assert self.data is not None
        part = self.data[start - self.start : min(end, self.end) - self.start]
        self.unread -= len(part)
        return part
