"""The buffered end of a sequentially written file, in memory until it is on disk and sent.

Whoever writes does not wait for the disk then, and what is sent need not come back from it. A
tail is made of blocks that lie where the first thousand parts of an upload do. The first part of a
file never is among them, so that small files have no tail.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.lib.buffers import Buffers
from provenafs.lib.direct_io import ALIGNMENT, WORTHWHILE
from provenafs.lib.signal import Signal

BLOCK = 8 * 1024 * 1024  # bytes
_BLOCKS_OF_A_FILE = 3
_BLOCKS = 4  # of all files
_BEHIND = BLOCK  # bytes that the disk may lack before the writer waits for it

WriteOut = Callable[[int, memoryview], Awaitable[None]]


class WriteBuffers:
    """Shared by the write buffers of a mount; `nursery` owns the tasks that write to disk."""

    def __init__(self, buffers: Buffers, nursery: Background) -> None:
        self.buffers = buffers
        self.nursery = nursery
        self.blocks = 0
        self.behind = 0  # bytes that are not on disk yet


class _Block(NamedTuple):
    start: int
    data: memoryview


class WriteBuffer:
    """Blocks of one file, oldest first.

    Bytes before `begin` were never here; up to `on_disk` it is on disk, up to `end` in memory.
    """

    def __init__(self, shared: WriteBuffers, write_out: WriteOut) -> None:
        """`write_out` puts bytes on disk. FSError if it cannot."""
        self.begin = 0
        self.on_disk = 0
        self.end = 0
        self._shared = shared
        self._write_out = write_out
        self._blocks: deque[_Block] = deque()
        self._is_writing = False
        self._moved = Signal()
        self._error: FSError | None = None

    @property
    def has_failed(self) -> bool:
        """Whether writing to disk has failed: `settle` tries again."""
        return self._error is not None

    async def append(self, offset: int, data: memoryview) -> int:
        """Take bytes at `offset`; returns how many: none where they do not continue the tail."""
        block = self._block(offset)
        if block is None:
            return 0
        while self.end - self.on_disk > _BEHIND and self._is_writing:
            await self._moved.wait()
        start = offset - block.start
        count = min(len(data), BLOCK - start)
        block.data[start : start + count] = data[:count]
        self.end += count
        self._shared.behind += count
        if self._error is None:
            self._start_writing()
        return count

    def get(self, start: int, end: int) -> memoryview | None:
        """The bytes of [start, end), if one block has them all; no copy."""
        for block in self._blocks:
            if block.start <= start and end <= min(block.start + BLOCK, self.end):
                return block.data[start - block.start : end - block.start].toreadonly()
        return None

    async def settle(self, until: int | None = None) -> None:
        """Return once all is on disk, or all before `until`. FSError if the disk refuses it."""
        until = self.end if until is None else until
        if self.on_disk < min(until, self.end):
            self._start_writing()
        while self.on_disk < min(until, self.end):
            if self._error is not None:
                raise self._error
            await self._moved.wait()

    async def drop(self) -> None:
        """Forget all, on disk or not."""
        self._note(self.end)
        with trio.CancelScope(shield=True):  # for as long as one write takes
            while self._is_writing:
                await self._moved.wait()
        while self._blocks:
            self._drop_oldest()
        self._error = None

    def _block(self, offset: int) -> _Block | None:
        if self._blocks and offset != self.end:
            return None
        if self._blocks and offset < self._blocks[-1].start + BLOCK:
            return self._blocks[-1]
        if offset == 0 or offset % BLOCK:
            return None
        while self._blocks and self._has_most and self._blocks[0].start + BLOCK <= self.on_disk:
            self._drop_oldest()
        if self._has_most:
            return None
        if offset != self.end:
            self.begin = self.on_disk = self.end = offset
        block = _Block(offset, self._shared.buffers.take(BLOCK))
        self._blocks.append(block)
        self._shared.blocks += 1
        return block

    @property
    def _has_most(self) -> bool:
        return len(self._blocks) >= _BLOCKS_OF_A_FILE or self._shared.blocks >= _BLOCKS

    def _drop_oldest(self) -> None:
        self._blocks.popleft()
        self._shared.blocks -= 1

    def _start_writing(self) -> None:
        if not self._is_writing:
            self._is_writing, self._error = True, None
            self._shared.nursery.start_soon(self._write_behind)

    async def _write_behind(self) -> None:
        """Runs until the disk has all, or refuses it; nobody else writes."""
        # The end of a mount waits for the disk: what is left are a few megabytes.
        with trio.CancelScope(shield=True):
            try:
                while self.on_disk < self.end:
                    await self._write_next()
            except FSError as error:
                self._error = error
            except Exception as error:  # no more threads, say: the mount goes on
                self._error = FSError(errno.EIO, f"the staging area: {error}")
            finally:
                if self._error is None and self.on_disk < self.end:
                    self._error = FSError(errno.EIO, "the staging area: writing was cut off")
                self._is_writing = False
                self._moved.fire()

    async def _write_next(self) -> None:
        """Write what comes next of a block: what can go past the page cache, else all there is."""
        start, data = next(block for block in self._blocks if block.start + BLOCK > self.on_disk)
        end = min(start + BLOCK, self.end)
        aligned = end // ALIGNMENT * ALIGNMENT
        if aligned - self.on_disk >= WORTHWHILE:
            end = aligned
        await self._write_out(self.on_disk, data[self.on_disk - start : end - start])
        self._note(end)

    def _note(self, on_disk: int) -> None:
        if on_disk > self.on_disk:
            self._shared.behind -= on_disk - self.on_disk
            self.on_disk = on_disk
            self._moved.fire()
