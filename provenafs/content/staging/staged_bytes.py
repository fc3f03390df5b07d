"""Staged files: the bytes of a file that is being written, in a sparse file on the local disk.

A staged file holds at the same offsets what was written. Each byte below the file's size is in
one of these places, looked at in this order:

- `local`: in the staging file;
- `punched`: only in acknowledged parts of an upload that is not complete, so not readable;
- below `base_size`: in the object it was made from;
- anywhere else it is zero.

`dirty` is the subset of `local` that the object does not have. What a file with a base has locally
is logged beside it, record by record, so that it is known after a crash of this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import uuid
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import trio

from provenafs import private
from provenafs.content.staging.ranges import Ranges
from provenafs.content.staging.write_buffer import WriteBuffer, WriteBuffers
from provenafs.errors import FSError
from provenafs.guard import Background, in_thread
from provenafs.lib.buffers import Buffers
from provenafs.lib.direct_io import (
    data_ranges,
    read_at,
    read_directly,
    write_at,
    write_directly,
)
from provenafs.s3.types import MAX_OBJECT

ReadBase = Callable[[int, int], Awaitable[bytes | memoryview]]  # offset, size in bytes

_RECORD = struct.Struct("<Qq")  # offset and length written; length -1: truncated to offset
_TRUNCATED = -1
_PUNCH_HOLE_KEEP_SIZE = 0x01 | 0x02
# Left on the disk, so that the journal can still be written when it is full of staged bytes.
_JOURNAL_RESERVE = 4 * 1024 * 1024
_THREADS = 16
_FILL = 1024 * 1024  # bytes read at a time
_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


class StagingArea:
    """The folder of staged files and its budget in bytes.

    `reclaim` is asked when the budget or the disk is full: it frees what it can, waiting for
    uploads that will free more, and returns False if nothing can be freed.
    """

    def __init__(self, state_dir: Path, budget: int, buffers: Buffers, nursery: Background) -> None:
        self.folder = state_dir / "staging"
        private.folder(self.folder)
        self.budget = budget
        self.used = 0
        self.reclaim: Callable[[], Awaitable[bool]] | None = None
        self.buffers = buffers
        self.tails = WriteBuffers(buffers, nursery)
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def create(self, name: str, base_size: int, read_base: ReadBase | None) -> StagedBytes:
        """An empty staged file over an object whose first `base_size` bytes count."""
        return await self._open(name, base_size, base_size, read_base)

    async def unnamed(self, size: int) -> StagedBytes:
        """Bytes of an object of `size` bytes, in a file that is gone once it is closed."""
        staged = await self._open(uuid.uuid4().hex, 0, size, None)
        staged.base_size = size
        self.discard(staged.name)
        return staged

    async def recover(
        self,
        name: str,
        base_size: int,
        read_base: ReadBase | None,
        punched: Iterable[tuple[int, int]] = (),
    ) -> StagedBytes:
        """A staged file that an earlier process left; FSError(EIO) if it is not there."""
        if not self.path(name).exists():
            raise FSError(errno.EIO, f"the staged bytes {self.path(name)} are missing")
        bytes_ = await self._open(name, base_size, 0, read_base)
        await self.run(bytes_.replay)
        bytes_.give_up(punched)
        self.used += bytes_.local.total
        return bytes_

    async def _open(
        self, name: str, base_size: int, size: int, read_base: ReadBase | None
    ) -> StagedBytes:
        path, log_path = self.path(name), self._log_path(name)

        def work() -> StagedBytes:
            file = _open_private(path)
            log_file = _open_private(log_path, os.O_APPEND) if base_size else None
            return StagedBytes(self, name, file, log_file, size)

        staged = await self.run(work)
        staged.base_size = base_size
        staged.read_base = read_base
        return staged

    def path(self, name: str) -> Path:
        """Where the bytes of a staged file are."""
        return self.folder / f"{name}.data"

    def names(self) -> set[str]:
        """The names of staged files, also of other mounts."""
        return {path.stem for path in self.folder.iterdir()}

    def log_file(self, name: str) -> int:
        """Open the log of what is local."""
        return _open_private(self._log_path(name), os.O_APPEND)

    def discard(self, name: str) -> None:
        """Delete a staged file."""
        self.path(name).unlink(missing_ok=True)
        self._log_path(name).unlink(missing_ok=True)

    def _log_path(self, name: str) -> Path:
        return self.folder / f"{name}.ranges"

    async def room(self, amount: int) -> None:
        """Return once `amount` more bytes fit into the budget; FSError(ENOSPC) if they never do."""
        while not self._has_room(amount):
            if self.reclaim is None or not await self.reclaim():
                raise FSError(errno.ENOSPC, "the staging area or its disk is full (--staging-size)")

    def _has_room(self, amount: int) -> bool:
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        coming = amount + self.tails.behind + _JOURNAL_RESERVE
        return self.used + amount <= self.budget and coming <= free

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do file work in a thread."""
        try:
            return await in_thread(work, limiter=self._limiter)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise FSError(errno.ENOSPC, "the disk of the staging area is full") from error
            message = f"{error.filename or 'the staging area'}: {error.strerror}"
            raise FSError(error.errno or errno.EIO, message) from error


class StagedBytes:
    """The bytes of one staged file. Changes are made by one task at a time; reads by any."""

    def __init__(
        self, area: StagingArea, name: str, file: int, log_file: int | None, size: int
    ) -> None:
        self.name = name
        self.size = size
        self.base_size = 0
        self.read_base: ReadBase | None = None
        self.local = Ranges()
        self.dirty = Ranges()
        self.punched = Ranges()
        self._area = area
        self._file = file
        self._log_file = log_file
        self._tail = WriteBuffer(area.tails, self._write_behind)
        if size:
            os.ftruncate(file, size)

    # Changes

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset`. ENOSPC, EFBIG, or EIO where the bytes were already punched."""
        end = offset + len(data)
        if end > MAX_OBJECT:
            raise FSError(errno.EFBIG, "objects are limited to 5 TiB")
        self._refuse_hole(offset)
        self.refuse_punched(offset, end)
        new = sum(stop - start for start, stop in self.local.gaps(offset, end))
        await self._area.room(new)
        self._area.used += new  # taken at once: other writers count on the room that is left
        try:
            await self._write_out(offset, data)
        except BaseException:
            self._area.used -= new
            raise
        self.local.add(offset, end)
        self.dirty.add(offset, end)
        self.size = max(self.size, end)

    async def _write_out(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes into the tail, or on disk where they do not belong to it."""
        left = memoryview(data)
        if self._tail.has_failed:
            await self._settle()
        while left and self._log_file is None:
            count = await self._tail.append(offset, left)
            if not count:
                break
            offset, left = offset + count, left[count:]
        if left:
            await self._forget_tail()
            await self._reclaiming(lambda: self._write_to_disk(offset, left))

    async def _write_to_disk(self, offset: int, data: memoryview) -> None:
        def work() -> None:
            write_at(self._file, data, offset)
            self._log(offset, len(data))

        await self._area.run(work)

    async def _write_behind(self, offset: int, data: memoryview) -> None:
        await self._area.run(lambda: write_directly(self._file, data, offset))

    async def _settle(self) -> None:
        """Put on disk what is in memory only."""
        await self._reclaiming(self._tail.settle)

    async def _forget_tail(self) -> None:
        await self._settle()
        await self._tail.drop()

    async def _reclaiming(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`; once more if the disk was full and others could make room."""
        try:
            await work()
        except FSError as error:
            reclaim = self._area.reclaim
            if error.errno != errno.ENOSPC or reclaim is None or not await reclaim():
                raise
            await work()

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros to `size` bytes. EFBIG above what an object can hold; ENOSPC."""
        if size > MAX_OBJECT:
            raise FSError(errno.EFBIG, "objects are limited to 5 TiB")
        self._refuse_hole(size)

        def work() -> None:
            os.ftruncate(self._file, size)
            self._log(size, _TRUNCATED)

        if size > self._tail.on_disk:
            await self._settle()
        await self._tail.drop()
        await self._area.run(work)
        before = self.local.total
        self._cut(size)
        self._area.used -= before - self.local.total

    def _cut(self, size: int) -> None:
        for extents in (self.local, self.dirty, self.punched):
            extents.truncate(size)
        self.base_size = min(self.base_size, size)
        self.size = size

    def _refuse_hole(self, end: int) -> None:
        """ENOSPC where the file would reach up to `end` with more zeros than the budget has bytes.

        They take no room here, but an object has no holes: the close of the file waits until
        they are sent.
        """
        if end <= self.size or end - self.base_size <= self._area.budget:
            return
        here = [*self.local.within(self.base_size, end), *self.punched.within(self.base_size, end)]
        hole = end - self.base_size - sum(stop - start for start, stop in here)
        if hole > self._area.budget:
            message = (
                f"S3 stores no holes: {hole} zeros would be sent, more bytes than --staging-size"
            )
            raise FSError(errno.ENOSPC, message)

    def refuse_punched(self, start: int, end: int) -> None:
        """EIO, in words, where bytes of [start, end) are in an unfinished upload only."""
        if self.punched.touches(start, end):
            message = (
                "this part of the file was already uploaded and removed from the full staging"
                " area; close the file first, or mount with a larger --staging-size"
            )
            raise FSError(errno.EIO, message)

    def give_up(self, ranges: Iterable[tuple[int, int]]) -> Ranges:
        """Make ranges punched, so that nobody reads or writes there; returns what was local."""
        given_up = Ranges()
        for start, end in ranges:
            for first, stop in self.local.within(start, end):
                given_up.add(first, stop)
            self.local.remove(start, end)
            self.punched.add(start, end)
        return given_up

    def take_back(self, given_up: Ranges) -> None:
        """Undo `give_up`."""
        for start, end in given_up:
            self.punched.remove(start, end)
            self.local.add(start, end)

    async def punch(self, given_up: Ranges) -> None:
        """Give the disk space of what was given up back."""

        def work() -> None:
            for start, end in given_up:
                arguments = (ctypes.c_longlong(start), ctypes.c_longlong(end - start))
                if _libc.fallocate(self._file, _PUNCH_HOLE_KEEP_SIZE, *arguments) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

        await self._area.run(work)
        self._area.used -= given_up.total

    # Reading

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`, as of now; fewer only at the end of the file."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        read_base = self.read_base
        try:
            return await self._merge(offset, end)
        except FSError as error:
            # Publishing replaces the object a read had begun to fetch from.
            if error.errno != errno.ESTALE or read_base is self.read_base:
                raise
            return await self._merge(offset, end)

    async def _merge(self, offset: int, end: int) -> bytes | memoryview:
        self.refuse_punched(offset, end)
        if self.local.covers(offset, end):
            return await self._read_local(offset, end)
        result = bytearray(end - offset)
        base_size = self.base_size
        local = list(self.local.within(offset, end))
        for start, stop in list(self.local.gaps(offset, min(end, base_size))):
            result[start - offset : stop - offset] = await self._read_base(start, stop)
        for start, stop in local:
            result[start - offset : stop - offset] = await self._read_local(start, stop)
        return memoryview(result)

    async def _read_local(self, start: int, end: int) -> memoryview:
        in_memory = self._tail.get(start, end)
        if in_memory is not None:
            return in_memory
        await self._tail.settle(end)
        # Elsewhere the pages may be dirty: a direct read would wait until they are written.
        read = read_directly if 0 < self._tail.begin <= start else read_at

        def work() -> memoryview:
            into = self._area.buffers.take(end - start)
            count = read(self._file, into, start)
            into[count:] = bytes(len(into) - count)  # beyond the end of the file
            return into

        data = await self._area.run(work)
        self.refuse_punched(start, end)
        return data

    async def _read_base(self, start: int, end: int) -> bytes:
        if self.read_base is None:
            raise FSError(errno.EIO, "the object this file was made from cannot be read")
        pieces = bytearray()
        while start + len(pieces) < end:
            data = await self.read_base(start + len(pieces), end - start - len(pieces))
            if not data:
                raise FSError(errno.ESTALE, "the object this file was made from has changed")
            pieces += data
        return bytes(pieces)

    async def fill(self, read: ReadBase) -> None:
        """Have all bytes here that are in the object only. ENOSPC; raises what `read` does."""
        for start, end in list(self.local.gaps(0, self.base_size)):
            position = start
            while position < end:
                data = await read(position, min(_FILL, end - position))
                if not data:
                    raise FSError(errno.ESTALE, "the object this file was made from has changed")
                await self.write(position, data)
                position += len(data)
            self.dirty.remove(start, end)

    # After a publication, and for recovery

    def rebase(self, read_base: ReadBase | None) -> None:
        """The object now has all bytes: what is changed from here on is a change to it."""
        self.dirty.clear()
        self.punched.clear()
        self.base_size = self.size
        self.read_base = read_base

    async def restart_log(self) -> None:
        """Log from here on what is changed against the object that was published."""

        def work() -> None:
            if self._log_file is None:
                self._log_file = self._area.log_file(self.name)
            os.ftruncate(self._log_file, 0)

        await self._area.run(work)

    async def sync(self) -> None:
        """Make the bytes and the log survive a power cut."""

        def work() -> None:
            os.fsync(self._file)
            if self._log_file is not None:
                os.fsync(self._log_file)

        await self._settle()
        await self._area.run(work)

    @property
    def settled_to(self) -> int:
        """Before this offset no byte is in memory only."""
        return self._tail.on_disk if self._tail.on_disk < self._tail.end else self.size

    async def discard(self) -> None:
        """Close the files and delete them."""
        await self._tail.drop()
        self.close()
        self._area.discard(self.name)

    async def leave(self) -> None:
        """Close the files; all that was written stays on disk. FSError if the disk refuses."""
        try:
            await self._settle()
        finally:
            await self._tail.drop()
            self.close()

    def close(self) -> None:
        """Close the files, as they are on disk."""
        os.close(self._file)
        if self._log_file is not None:
            os.close(self._log_file)
        self._area.used -= self.local.total

    def _log(self, offset: int, length: int) -> None:
        if self._log_file is not None:
            os.write(self._log_file, _RECORD.pack(offset, length))

    def replay(self) -> None:
        """Find out from size and log what an earlier process had written."""
        size = os.fstat(self._file).st_size
        if self._log_file is None:
            for extents in (self.local, self.dirty):
                for start, end in data_ranges(self._file, size):
                    extents.add(start, end)
            self.size = size
            return
        records = os.pread(self._log_file, os.fstat(self._log_file).st_size, 0)
        whole = len(records) - len(records) % _RECORD.size
        os.ftruncate(self._log_file, whole)
        self.size = self.base_size
        for offset, length in _RECORD.iter_unpack(records[:whole]):
            if length == _TRUNCATED:
                self._cut(offset)
            else:
                self.local.add(offset, offset + length)
                self.dirty.add(offset, offset + length)
                self.size = max(self.size, offset + length)


def _open_private(path: Path, flags: int = 0) -> int:
    return private.open_file(path, os.O_RDWR | os.O_CREAT | flags)
