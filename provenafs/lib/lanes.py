"""As many large transfers side by side as the network rewards; the others wait their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from provenafs.lib.parallelism import Parallelism

# Bytes a second, near what one process moves: beyond it more threads only take turns.
_ENOUGH = 500e6


class Lanes:
    """Transfers in one direction, over all files of a mount."""

    def __init__(self, most: int) -> None:
        """`most` transfers at once, whatever the network would reward."""
        self._parallelism = Parallelism(most, _ENOUGH)
        self._limiter = trio.CapacityLimiter(self.limit)

    @property
    def limit(self) -> int:
        """How many transfers may be under way at once."""
        return self._parallelism.limit

    @property
    def throughput(self) -> float:
        """What all of them brought together when that was last measured, in bytes a second."""
        return self._parallelism.throughput

    @asynccontextmanager
    async def transfer(self, size: int, *, is_urgent: bool = False) -> AsyncIterator[None]:
        """Have a lane for `size` bytes; an urgent transfer begins at once, but counts as well."""
        if is_urgent:
            async with self._measured(size):
                yield
            return
        async with self._limiter, self._measured(size):
            yield

    def slow_down(self) -> None:
        """The server has asked for less."""
        self._parallelism.overloaded(trio.current_time())
        self._limiter.total_tokens = self.limit

    @asynccontextmanager
    async def _measured(self, size: int) -> AsyncIterator[None]:
        transfer, brought = self._parallelism.begin(trio.current_time()), 0
        try:
            yield
            brought = size
        finally:
            self._parallelism.end(transfer, brought, trio.current_time())
            self._limiter.total_tokens = self.limit
