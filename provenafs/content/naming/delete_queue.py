"""The acknowledged deletions of one bucket, sent singly or in batches.

Many in one only where the server is seen to look at the ETag of each: it is asked once, while the
first of a run are deleted one by one.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Generic, TypeVar

import trio

from provenafs.content.volume import Volume
from provenafs.guard import Background
from provenafs.lib.signal import Signal
from provenafs.s3.deleting import AT_ONCE
from provenafs.s3.errors import Unavailable

log = logging.getLogger(__name__)

_ONE_BY_ONE = 16
_WAITING = 2 * AT_ONCE
_BATCHES_AT_ONCE = 2
_ASKED_AFTER = 8  # deletions
# Waiting for more deletions costs next to nothing; a waiter ends the wait.
_GATHER_S = 0.05

_T = TypeVar("_T")


class _Server(Enum):
    """Whether a server supports conditional batch deletion."""

    UNKNOWN = auto()
    ASKED = auto()
    LOOKS_AT_ETAGS = auto()
    DOES_NOT = auto()


class DeleteQueue(Generic[_T]):
    """Queues deletions for `one` and `many`, which have deadlines and raise nothing."""

    def __init__(
        self,
        volume: Volume,
        nursery: Background,
        one: Callable[[_T], Awaitable[None]],
        many: Callable[[Sequence[_T]], Awaitable[bool]],
    ) -> None:
        """`many` returns whether batches may be sent again."""
        self._volume = volume
        self._nursery = nursery
        self._one = one
        self._many = many
        self._waiting: deque[_T] = deque()
        self._server = _Server.UNKNOWN
        self._seen = 0
        self._under_way = 0
        self._batches = 0
        self._less = Signal()
        self._in_a_hurry = Signal()

    async def room(self) -> None:
        """Wait until another may be put."""
        while self._under_way >= self._capacity:
            await self._less.wait()

    @property
    def _capacity(self) -> int:
        return _WAITING if self._server is _Server.LOOKS_AT_ETAGS else _ONE_BY_ONE

    def put(self, item: _T) -> None:
        """Delete this soon."""
        self._under_way += 1
        self._seen += 1
        if self._server is not _Server.LOOKS_AT_ETAGS:
            self._nursery.start_soon(self._run_one, item)
            if self._server is _Server.UNKNOWN and self._seen >= _ASKED_AFTER:
                self._server = _Server.ASKED
                self._nursery.start_soon(self._ask)
            return
        self._waiting.append(item)
        needed = 1 + len(self._waiting) // AT_ONCE
        if self._batches < min(needed, _BATCHES_AT_ONCE):
            self._batches += 1
            self._nursery.start_soon(self._run_batches)

    def send_now(self) -> None:
        """Somebody waits for what gathers."""
        self._in_a_hurry.fire()

    async def _ask(self) -> None:
        key = f"{self._volume.drive.prefix}{uuid.uuid4().hex}"
        try:
            looks = await self._volume.writer.checks_etags(key)
            self._server = _Server.LOOKS_AT_ETAGS if looks else _Server.DOES_NOT
        except Unavailable:
            self._forget()
        except Exception as error:  # also of the credential source
            log.info(
                "%s: objects are deleted one by one: %s", self._volume.drive.bucket.name, error
            )
            self._server = _Server.DOES_NOT

    def _forget(self) -> None:
        self._server, self._seen = _Server.UNKNOWN, 0

    async def _run_one(self, item: _T) -> None:
        try:
            await self._one(item)
        finally:
            self._ended(1)

    async def _run_batches(self) -> None:
        try:
            while self._waiting:
                with trio.move_on_after(_GATHER_S):
                    await self._in_a_hurry.wait()
                size = min(len(self._waiting), AT_ONCE)
                batch = [self._waiting.popleft() for _ in range(size)]
                try:
                    if batch and not await self._many(batch):
                        self._forget()
                finally:
                    self._ended(len(batch))
        finally:
            self._batches -= 1

    def _ended(self, count: int) -> None:
        self._under_way -= count
        self._less.fire()
