"""Deadlines that progress extends, and a semaphore for bytes of memory."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import trio

from provenafs.errors import Transient
from provenafs.lib.signal import Signal

_LOOKS_PER_TIMEOUT = 8
_T = TypeVar("_T")


class Progress:
    """Counts what moves towards the bucket, over all files of a mount.

    A file that waits for others makes progress when they do.
    """

    def __init__(self, timeout: float) -> None:
        """`timeout` is in seconds without any progress."""
        self.timeout = timeout
        self._count = 0

    def made(self) -> None:
        """Something moved; may be called from any thread."""
        self._count += 1

    async def bound(self, work: Callable[[], Awaitable[_T]], what: str) -> _T:
        """Do `work`; Transient(EIO) when nothing has moved for the timeout."""
        result: list[_T] = []
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                result.append(await work())
            except Exception as error:
                failures.append(error)
            self.made()
            nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]
        if not result:
            raise Transient(errno.EIO, f"{what}: no progress for {self.timeout:.0f} s")
        return result[0]

    async def _watch(self, scope: trio.CancelScope) -> None:
        count, quiet = self._count, 0
        while quiet < _LOOKS_PER_TIMEOUT:
            await trio.sleep(self.timeout / _LOOKS_PER_TIMEOUT)
            quiet = quiet + 1 if count == self._count else 0
            count = self._count
        scope.cancel()


class Reserve(Protocol):
    """Memory of others, lent while they do not need it."""

    def lend(self, size: int) -> bool:
        """Count `size` bytes, unless there are not so many to spare."""

    def give_back(self, size: int) -> None:
        """`size` bytes are no longer held."""


class ByteSemaphore:
    """A budget of bytes held in memory; who comes first is served first."""

    def __init__(self, limit: int, reserve: Reserve | None = None) -> None:
        """`limit` in bytes; what is above it the reserve may lend."""
        self._limit = limit
        self._reserve = reserve
        self._used = 0  # without what was lent
        self._turn = trio.Lock()
        self._freed = Signal()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Hold `amount` bytes; one that is above the limit waits until nothing else is held."""
        async with self._turn:
            lender = await self._take(amount)
        try:
            yield
        finally:
            if lender is None:
                self._used -= amount
            else:
                lender.give_back(amount)
            self._freed.fire()

    async def _take(self, amount: int) -> Reserve | None:
        """Count `amount` bytes; who has lent them, if they are not our own."""
        while self._used and self._used + amount > self._limit:
            if self._reserve is not None and self._reserve.lend(amount):
                return self._reserve
            await self._freed.wait()
        self._used += amount
        return None
