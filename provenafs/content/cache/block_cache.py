"""The block cache: ranges that were read once are on disk, also after a remount.

It never makes a read fail: where the disk is full, read-only or damaged, nothing is cached.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from provenafs.content.cache.open_segments import OpenSegment
from provenafs.content.cache.segment import GRANULE, Damaged
from provenafs.content.cache.segments import Segments
from provenafs.guard import in_thread
from provenafs.lib.buffers import Buffers

log = logging.getLogger(__name__)

_TROUBLE = (OSError, sqlite3.Error)
_DAMAGED_TABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_READERS = 8
_WRITERS = 4
# Bytes on their way to the disk: one slower than the network must not slow the reader down.
_MOST_WAITING = 48 * 1024 * 1024
_MOST_IN_BATCH = 64  # small objects, 4 MiB at most
_PAUSE_S = 60.0  # after the disk refused
_MIN_FREE = 2 * 1024**3  # bytes left to others, or 5 % of a small disk
_SPARE = 0.9  # evicted down to this part of the limit
_USES_UNWRITTEN = 1000
_MOST_FOR_ONE = 16  # of an object that nobody asked for whole, one part in so many of the limit
# So many reads at random cost a disk about as much as a whole segment in sequence.
_MANY_WAITS = 4
_MOST_OFTEN_WAITED_FOR = 256  # files
_LOOK_S = 5.0  # another mount's eviction gives no room for so long


def object_id(bucket: str, key: str, etag: str) -> bytes:
    """The id of an object version in the cache."""
    name = "\0".join((bucket, key, etag)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=16).digest()


class _Batch:
    """Small objects to be written in one transaction."""

    def __init__(self) -> None:
        self.objects: list[tuple[bytes, memoryview]] = []
        self.is_written = trio.Event()


class BlockCache:
    """Blocks of object versions on disk. Ranges begin and end at granules, or end the object."""

    def __init__(
        self, folder: Path, buffers: Buffers, limit: int, min_free: int | None = None
    ) -> None:
        """`limit` and `min_free` (on the disk, by default 2 GiB or 5 %) in bytes."""
        self._limit = limit
        self._min_free = min_free
        self._readers = trio.CapacityLimiter(_READERS)
        self._writers = trio.CapacityLimiter(_WRITERS)
        self._waiting = 0
        self._batch = _Batch()  # being collected
        self._one_batch = trio.Lock()
        self._paused_until = -1.0
        self._since_check = limit  # bytes written since the limit was last checked
        self._waited_for, self._often_waited_for = trio.open_memory_channel[OpenSegment](
            _MOST_OFTEN_WAITED_FOR
        )
        self._segments: Segments | None = None
        if limit <= 0:
            return
        try:
            self._segments = Segments(folder, buffers)
        except _TROUBLE as error:
            log.warning("nothing is cached in %s: %s", folder, error)

    def read_now(self, name: bytes, start: int, end: int) -> memoryview | None:
        """The bytes of [start, end), any range, where no disk has to be waited for.

        None does not mean absent: `read` may have them.
        """
        return None if self._segments is None else self._segments.read_now(name, start, end)

    async def read(
        self, name: bytes, start: int, end: int, *, at_random: bool = False
    ) -> memoryview | None:
        """The bytes of [start, end), or None if they are not all here and whole.

        Those read at random stay in the page cache, for `read_now`.
        """
        store = self._segments
        if store is None:
            return None
        found = None
        try:
            found = store.find(name, start, end)
            if found is None:
                return None
            at_hand = store.at_hand(found)
            if at_hand is not None:
                # Of less than was asked for nobody can use a part.
                return at_hand[start:end] if end <= len(at_hand) else None
            load = store.load_at_random if at_random else store.load
            data = await in_thread(
                load, name, found, start, end, limiter=self._readers, abandon_on_cancel=True
            )
            if at_random:
                self._note_wait(store.opened(name, start, end))
            return data
        except FileNotFoundError:  # evicted meanwhile, or deleted by hand
            pass
        except (*_TROUBLE, Damaged) as error:
            log.warning("cached bytes are fetched again: %s", error)
            await self._give_up_if_damaged(error)
        if found is None:
            await self.evict(name)
        else:
            await self._in_worker(store.remove, [segment.id for segment in found])
        return None

    async def store(self, name: bytes, start: int, data: memoryview) -> None:
        """Keep bytes from `start`, unless the disk is busy, full or broken."""
        if self._segments is None or trio.current_time() < self._paused_until:
            return
        if start == 0 and len(data) < GRANULE:
            await self._store_small(name, data)
            return
        if self._waiting + len(data) > _MOST_WAITING:
            return
        self._waiting += len(data)
        try:
            await self._in_worker(self._store, name, start, data)
        finally:
            self._waiting -= len(data)

    def missing(self, name: bytes, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not here, in whole granules."""
        if self._segments is None:
            return [(start, end)]
        try:
            return self._segments.missing(name, start, end)
        except sqlite3.Error:
            return [(start, end)]

    def has_room_for(self, size: int, missing: int) -> bool:
        """Whether an object of `size` bytes may be kept whole: `missing` bytes are not here yet.

        It takes no more than a part of the cache, and no room that the disk has not free.
        """
        is_paused = trio.current_time() < self._paused_until
        if self._segments is None or is_paused or size > self._limit // _MOST_FOR_ONE:
            return False
        try:
            free, total = self._segments.free()
        except OSError:
            return False
        return free - self._reserve(total) >= missing

    def cached_bytes(self, name: bytes) -> int:
        """How many bytes of an object version are here."""
        if self._segments is None:
            return 0
        try:
            return self._segments.cached_bytes(name)
        except sqlite3.Error:
            return 0

    async def pin(self, path: bytes, name: bytes) -> None:
        """Never evict an object version to make room, nor any other of this path but it."""
        if self._segments is not None:
            await self._in_worker(self._segments.pin, path, name)

    async def unpin(self, path: bytes) -> None:
        """Let what is pinned at a path be evicted again."""
        if self._segments is not None:
            await self._in_worker(self._segments.unpin, path)

    def is_pinned(self, name: bytes) -> bool:
        """Whether an object version is never evicted to make room."""
        if self._segments is None:
            return False
        try:
            return self._segments.is_pinned(name)
        except sqlite3.Error:
            return False

    async def evict(self, name: bytes) -> None:
        """Remove an object version."""
        store = self._segments
        if store is not None:
            await self._in_worker(lambda: store.remove(store.segments_of(name)))

    async def tend(self) -> None:
        """Run as long as there are reads: sees to the files that are open for them."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_unused)
            async for segment in self._often_waited_for:
                if self._segments is not None:
                    await self._read_through(self._segments, segment)

    async def _close_unused(self) -> None:
        while self._segments is not None:
            await trio.sleep(_LOOK_S)
            if self._segments is not None:
                self._segments.close_unused()

    async def _read_through(self, store: Segments, segment: OpenSegment) -> None:
        with suppress(OSError):  # who reads there finds out
            await in_thread(
                store.read_through, segment, limiter=self._readers, abandon_on_cancel=True
            )

    def _note_wait(self, segments: Sequence[OpenSegment]) -> None:
        """Reads at random waited for the disk: after some of them all of a file is read."""
        for segment in segments:
            segment.waits += 1
            if segment.waits == _MANY_WAITS:
                with suppress(trio.WouldBlock):
                    self._waited_for.send_nowait(segment)

    def close(self) -> None:
        """Close the files; what is cached stays."""
        if self._segments is not None:
            self._segments.close()

    async def _in_worker(self, work: Callable[..., None], *arguments: object) -> None:
        """Run `work` in a thread; trouble with the disk stops caching for a while."""
        try:
            await in_thread(work, *arguments, limiter=self._writers, abandon_on_cancel=True)
        except (*_TROUBLE, Damaged) as error:
            self._paused_until = trio.current_time() + _PAUSE_S
            log.warning("nothing is cached for %d s: %s", _PAUSE_S, error)
            await self._give_up_if_damaged(error)

    async def _give_up_if_damaged(self, error: Exception) -> None:
        """A damaged table cannot be repaired: caching stops until the next mount recreates it."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED_TABLE and self._segments:
            store, self._segments = self._segments, None
            await in_thread(store.discard, abandon_on_cancel=True)

    async def _store_small(self, name: bytes, data: memoryview) -> None:
        """In a batch with all that come while the one before is being written."""
        batch = self._batch
        if len(batch.objects) >= _MOST_IN_BATCH:
            return
        batch.objects.append((name, data))
        if len(batch.objects) > 1:
            await batch.is_written.wait()
            return
        try:
            async with self._one_batch:
                self._batch = _Batch()
                await self._in_worker(self._store_batch, batch.objects)
        finally:
            if self._batch is batch:  # cancelled before its turn
                self._batch = _Batch()
            batch.is_written.set()

    def _store_batch(self, objects: Sequence[tuple[bytes, memoryview]]) -> None:
        store = self._segments
        assert store is not None
        size = sum(len(data) for _, data in objects)
        if self._make_room(store, size):
            store.store_small(objects)
            self._since_check += size

    def _store(self, name: bytes, start: int, data: memoryview) -> None:
        store = self._segments
        assert store is not None
        if not self._make_room(store, len(data)):
            return
        store.store(name, start, data)
        self._since_check += len(data)
        if store.uses_unwritten > _USES_UNWRITTEN:
            store.note_use()

    def _make_room(self, store: Segments, size: int) -> bool:
        """Keep to the limit and to the minimum of free space; False where that is not possible."""
        free, total = store.free()
        lacking = self._reserve(total) + size - free
        if lacking > 0:
            return store.evict(lacking) >= lacking
        if self._since_check + size > self._limit // 32:
            used = store.usage()
            if used + size > self._limit:
                store.evict(used + size - int(self._limit * _SPARE))
                used = store.usage()
            self._since_check = 0
            return used + size <= self._limit
        return True

    def _reserve(self, total: int) -> int:
        """Bytes of a disk of `total` bytes that are left to others."""
        return min(_MIN_FREE, total // 20) if self._min_free is None else self._min_free
