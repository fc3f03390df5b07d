"""The files of a mount that are open or not stored, and their handles."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from provenafs.content.content import Content
from provenafs.content.journal_schema import Row
from provenafs.content.listing.index import Entry, Index
from provenafs.content.reading.reader import Reader
from provenafs.content.volume import Volume
from provenafs.content.writing.descriptors import Writers, too_many
from provenafs.content.writing.file import File
from provenafs.content.writing.recovered_file import recover_file
from provenafs.content.writing.services import FileServices
from provenafs.content.writing.writeback import Writeback
from provenafs.errors import FSError
from provenafs.s3.errors import S3Error

log = logging.getLogger(__name__)


class FileHandle:
    """One open of a file. Reads go to the object until something is written."""

    def __init__(self, files: OpenFiles, file: File, reader: Reader, *, writing: bool) -> None:
        self.file = file
        self._writes_to = file.ino if writing else None
        if writing:
            files.writers.begin(file.ino)
        self._files = files
        self._reader = reader
        self._version = file.version

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`; fewer only at the end of the file.

        A concurrent truncation would read as zeros: reads wait until it is done.
        """
        while True:
            if self.file.cutting is not None:
                await self.file.cutting.wait()
            cuts = self.file.cuts
            data = await self._read(offset, size)
            if cuts == self.file.cuts:
                return data

    async def _read(self, offset: int, size: int) -> bytes | memoryview:
        if self.file.is_here:
            return await self.file.read(offset, size)
        while True:
            reader = self._reader
            try:
                data = await reader.read(offset, size)
            except (S3Error, FSError):
                if self.file.is_here:
                    return await self.file.read(offset, size)
                if self._is_up_to_date(reader):
                    raise
            else:
                if len(data) == size or self._is_up_to_date(reader):
                    return data
            if reader is self._reader:
                await self._follow()

    def _is_up_to_date(self, reader: Reader) -> bool:
        """Whether nothing was moved or has grown, not even for another read of this handle."""
        return reader is self._reader and self._version == self.file.version

    async def _follow(self) -> None:
        """The same bytes are somewhere else now, or more have come after them."""
        file, left = self.file, self._reader
        self._version = file.version
        drive, entry = file.volume.drive, self._files.index.get(file.ino)
        if entry is None:
            self._reader = drive.read(file.version, lambda: file.is_lost)
        else:
            moved = entry._replace(size=file.version.size, etag=file.etag)
            self._reader = drive.open(moved, lambda: file.is_lost)
        await left.close()

    async def write(self, offset: int, data: bytes) -> int:
        """Write `data` at `offset`; returns how many bytes that were."""
        return await self.file.write(offset, data)

    async def flush(self) -> None:
        """close(): answers once stored, or with why not; see File.flush."""
        await self.file.flush()

    async def sync(self) -> None:
        """fsync(): as close, but also of an empty file and with --writeback."""
        await self.file.sync()

    async def release(self) -> None:
        """The last descriptor is gone. Failures go to the log and to recovery."""
        try:
            await self._reader.close()
        finally:
            if self._writes_to is not None:
                self._files.writers.end(self._writes_to)
            await self._files.released(self.file)


class OpenFiles:
    """The files that are open or not stored."""

    def __init__(
        self,
        content: Content,
        services: FileServices,
        *,
        failed: Callable[[int, Exception], None],
        name_freed: Callable[[str], None],
        attributes_set: Callable[[File], None],
    ) -> None:
        """`failed` is called with failures that no close can report.

        `name_freed`: the last use of a removed file has ended, by its key. `attributes_set`: as in
        FileEvents.
        """
        self.content = content
        self.services = services
        self.writers = Writers()
        self.attributes_set = attributes_set
        self._failed = failed
        self._name_freed = name_freed
        self._files: dict[int, File] = {}
        self._going: dict[int, trio.Event] = {}
        self._writeback = Writeback(services.nursery, self.settle, failed)

    @property
    def index(self) -> Index:
        """The entries and their inode numbers."""
        return self.services.index

    # Opening

    def open(self, volume: Volume, entry: Entry, *, writing: bool = False) -> FileHandle:
        """Open a file; ENFILE as `admit`, unless it is being written already."""
        if writing and entry.ino not in self.writers:
            self.admit()
        file = self._file(volume, entry)
        current = self.index.get(entry.ino) or entry
        reader = volume.drive.open(current, lambda: file.is_lost)
        file.uses += 1
        return FileHandle(self, file, reader, writing=writing)

    @asynccontextmanager
    async def going(self, ino: int) -> AsyncIterator[None]:
        """While a file whose name is claimed is removed or replaced.

        Who has it open was looked at, to keep what they may still read: nobody joins them now.
        """
        gone = self._going[ino] = trio.Event()
        try:
            yield
        finally:
            del self._going[ino]
            gone.set()

    async def left_alone(self, ino: int) -> None:
        """Wait while a file is removed or replaced, `io_timeout` at most. ESTALE if it is gone."""
        gone = self._going.get(ino)
        if gone is not None:
            with trio.move_on_after(self.content.s3.io_timeout):
                await gone.wait()
        if self.index.get(ino) is None and (gone is not None or self.known(ino) is None):
            raise FSError(errno.ESTALE, "the file was removed")

    def admit(self) -> None:
        """ENFILE if no more files can be written to without taking what others need."""
        if len(self._files) >= self.writers.most:
            busy = (ino for ino, one in self._files.items() if one.is_here or ino in self.writers)
            if sum(1 for _ in busy) >= self.writers.most:
                raise too_many()

    @asynccontextmanager
    async def using(self, volume: Volume, entry: Entry) -> AsyncIterator[File]:
        """The file of an entry, for an operation by name. At the end: S3Error, FSError."""
        file = self._file(volume, entry)
        file.uses += 1
        try:
            yield file
        finally:
            await self._let_go(file)

    async def _let_go(self, file: File) -> None:
        """Give a use of a file back; the last one stores what no close has. S3Error, FSError."""
        try:
            while file.uses == 1 and file.must_be_stored:
                await file.store()
        finally:
            file.uses -= 1
            await self.settle(file)

    def _file(self, volume: Volume, entry: Entry) -> File:
        known = self._files.get(entry.ino)
        if known is None:
            # The entry may be older than what was stored meanwhile.
            current = self.index.get(entry.ino) or entry
            key = volume.drive.key(current)
            known = self._files[entry.ino] = File(self.services, self, volume, current, key)
        return known

    def known(self, ino: int) -> File | None:
        """The file of an inode, if it is open or not stored."""
        return self._files.get(ino)

    def open_by_key(self) -> dict[str, File]:
        """The files that are in use and have a name, by their keys."""
        files = self._files.values()
        return {file.key: file for file in files if file.uses and not file.unlinked}

    def below(self, prefix: str, volume: Volume) -> list[File]:
        """The known files of a dataset whose keys start with `prefix`."""
        return [
            file
            for file in self._files.values()
            if file.volume.dataset == volume.dataset and file.key.startswith(prefix)
        ]

    async def truncate(self, volume: Volume, entry: Entry, size: int) -> None:
        """Cut or extend a file with zeros; published at once unless a handle is open."""
        async with self.using(volume, entry) as file:
            await file.truncate(size)

    async def set_attributes(
        self, volume: Volume, entry: Entry, mtime_ns: int | None, mode: int | None
    ) -> None:
        """Give a file a time, in nanoseconds since the epoch, or permission bits."""
        file = self._file(volume, entry)
        file.set_attributes(mtime_ns, mode)
        await self.settle(file)

    async def released(self, file: File) -> None:
        """A handle was released; failures can no longer be returned to it."""
        try:
            await self._let_go(file)
        except Exception as error:
            log.error("%s could not be stored: %s", file.key, error)
            self._failed(file.ino, error)

    async def settle(self, file: File) -> None:
        """Forget a file that is unused and stored; failed ones are left to recovery."""
        if file.uses or file.awaits_writeback:
            return  # without a look at the lock, which an upload may hold
        is_done = await file.finish()
        # It may have been opened meanwhile.
        if is_done and not file.uses and self._files.get(file.ino) is file:
            del self._files[file.ino]
        if file.unlinked:
            self._name_freed(file.key)

    # Storing

    def acknowledged(self, file: File) -> None:
        """Store a file whose close was already acknowledged."""
        self._writeback.send(file)

    def send_recovered(self, file: File, ended: Callable[[], None]) -> None:
        """Store what an earlier mount had acknowledged; `ended` is called in the end."""
        self._files[file.ino] = file
        self._writeback.send(file, ended)

    async def recover(self, volume: Volume, row: Row, key: str) -> File:
        """A file that an earlier mount left; see recover_file."""
        return await recover_file(self.services, self, volume, row, key)

    async def store_all(self, volume: Volume | None) -> list[Exception]:
        """Store everything that was written so far, of one dataset or of all; what has failed.

        Scratch files stay.
        """
        files = [file for file in self._files.values() if volume in (None, file.volume)]
        failures: list[Exception] = []

        async def store(file: File) -> None:
            try:
                await file.store_now()
                await self.settle(file)
            except Exception as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for file in files:
                if not file.is_scratch:
                    nursery.start_soon(store, file)
        return failures

    async def drained(self) -> None:
        """Wait until what closes have promised is stored."""
        await self._writeback.drained()

    def unstored(self) -> list[File]:
        """The files that the bucket does not have as they are."""
        return [file for file in self._files.values() if file.is_unstored]

    # Room in the staging area

    async def reclaim(self) -> bool:
        """Free room in the staging area; False if there is none to be had."""
        freed = [await file.punch() for file in list(self._files.values())]
        if any(freed):
            return True
        for file in list(self._files.values()):
            if await file.wait_for_part():
                return True
        if not any(file.awaits_writeback for file in self._files.values()):
            return False
        return await self._writeback.one_less(within=self.content.s3.io_timeout)
