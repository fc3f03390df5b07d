"""The open files of a mount, and what it still has to store."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from provenafs.content.content import Content
from provenafs.content.deletions import Deletions
from provenafs.content.descriptors import Writers, too_many
from provenafs.content.file import File, may_pass
from provenafs.content.following import Following
from provenafs.content.index import Entry, Index
from provenafs.content.journal import Journal
from provenafs.content.names import Names
from provenafs.content.progress import Progress
from provenafs.content.reader import Reader
from provenafs.content.staging import StagingArea
from provenafs.content.touches import Touches
from provenafs.content.uploads import Uploads
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.errors import S3Error

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_JOURNAL_FLUSH_S = 2.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """A file that is not wholly stored: sizes in bytes."""

    dataset: str
    key: str
    size: int
    sent: int
    state: str


class FileHandle:
    """One open of a file. Reads go to the object until something is written."""

    def __init__(self, files: Files, file: File, reader: Reader, *, writing: bool) -> None:
        self.file = file
        self._writes_to = file.ino if writing else None
        if writing:
            files.writers.begin(file.ino)
        self._files = files
        self._reader = reader
        self._place = file.place

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`; fewer only at the end of the file.

        What is just cut off would be zeros: whoever reads meanwhile does so once it is done.
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
        return reader is self._reader and self._place == self.file.place

    async def _follow(self) -> None:
        """The same bytes are somewhere else now, or more have come after them."""
        file, left = self.file, self._reader
        self._place = file.place
        drive, entry = file.volume.drive, self._files.index.get(file.ino)
        if entry is None:
            self._reader = drive.read(
                file.key, file.object_size, file.etag or "", lambda: file.is_lost
            )
        else:
            moved = entry._replace(size=file.object_size, etag=file.etag)
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


class Files:
    """The files that are open or not stored. `open_files` makes it; its nursery is the owner."""

    def __init__(
        self,
        content: Content,
        nursery: Background,
        journal: Journal,
        area: StagingArea,
        *,
        writeback: bool,
        failed: Callable[[int, Exception], None],
    ) -> None:
        self.content = content
        self.nursery = nursery
        self.journal = journal
        self.area = area
        self.writeback = writeback
        self.uploads = Uploads(Progress(content.s3.io_timeout))
        self.failed = failed
        self.names = Names(content.index, self.uploads.progress)
        self.touches = Touches(self)
        self.deletions = Deletions(self)
        self.writers = Writers()
        content.follow = Following(self).listed
        self._files: dict[int, File] = {}
        self._going: dict[int, trio.Event] = {}
        self._behind = 0
        self._idle = trio.Event()
        area.reclaim = self._reclaim
        nursery.start_soon(self._keep_journal)

    @property
    def index(self) -> Index:
        """The entries and their inode numbers."""
        return self.content.index

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
        """Wait for whoever removes or replaces a file, `io_timeout` at most. ESTALE if it went."""
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
            known = self._files[entry.ino] = File(self, volume, current, key)
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
        """A handle was released, to whom no failure can be told any more."""
        try:
            await self._let_go(file)
        except Exception as error:
            log.error("%s could not be stored: %s", file.key, error)
            self.failed(file.ino, error)

    async def settle(self, file: File) -> None:
        """Forget a file that nobody uses and owes nothing; what failed is left to recovery."""
        if file.uses or file.is_owed:
            return  # without a look at the lock, which an upload may hold
        is_done = await file.finish()
        # It may have been opened meanwhile.
        if is_done and not file.uses and self._files.get(file.ino) is file:
            del self._files[file.ino]
        if file.unlinked:
            self.deletions.released(file.key)

    # What the index shows

    def show_theirs(self, file: File) -> None:
        """Our bytes are not the file's any more: show what the bucket has."""
        entry = self.index.get(file.ino)
        if entry is None:
            return
        if file.etag is None:
            self.index.remove(file.ino)
        else:
            self.index.disown(file.ino, file.object_size, file.etag)
        file.volume.drive.look_again(entry)

    # Storing behind

    def send_behind(self, file: File) -> None:
        """Store a file whose close was already acknowledged."""
        self._behind += 1
        self.nursery.start_soon(self._send_until_stored, file)

    def send_recovered(self, file: File, settled: Callable[[], None]) -> None:
        """Store what an earlier mount had acknowledged; `settled` is told of the end."""
        self._files[file.ino] = file
        self._behind += 1
        self.nursery.start_soon(self._send_recovered, file, settled)

    async def _send_recovered(self, file: File, settled: Callable[[], None]) -> None:
        try:
            await self._send_until_stored(file)
        finally:
            settled()

    async def _send_until_stored(self, file: File) -> None:
        pause = _FIRST_PAUSE_S
        try:
            while file.is_owed:
                try:
                    await file.store_now()
                except Exception as error:
                    if not may_pass(error):
                        log.error("%s could not be stored: %s", file.key, error)
                        self.failed(file.ino, error)
                        break
                    log.warning("%s is not stored yet: %s", file.key, error)
                    await trio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
            await self.settle(file)
        except Exception as error:
            log.error("%s could not be stored: %s", file.key, error)
        finally:
            self._behind -= 1
            self._idle.set()
            self._idle = trio.Event()

    def touch_later(self, file: File) -> None:
        """Let the object carry the attributes that were set after it was stored."""
        self.touches.add(file.volume, file.ino)

    async def store_all(self, volume: Volume | None = None) -> None:
        """Return once everything is stored that was written so far; raises the first failure.

        Scratch files stay. `volume` None means all datasets.
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
        try:
            await self.deletions.sync(volume)
        except Exception as error:
            failures.append(error)
        await self.touches.flush()
        await self.journal.flush()
        if failures:
            raise failures[0]

    async def drain(self) -> None:
        """Before unmounting: wait until nothing is owed to the bucket any more."""
        while self._behind:
            await self._idle.wait()
        await self.touches.flush()
        await self.deletions.flush()

    def transfers(self) -> list[Transfer]:
        """What is not stored, or not deleted, for people to look at."""
        stored = [
            Transfer(file.volume.dataset, file.key, file.size, file.sent_bytes, file.state.value)
            for file in self._files.values()
            if file.changed or file.is_owed
        ]
        deleted = [
            Transfer(intent.dataset, intent.key, 0, 0, intent.action.value)
            for intent in self.deletions.owed()
        ]
        return stored + deleted

    async def _keep_journal(self) -> None:
        """What may be lost in a crash is still not left lying about."""
        while True:
            await trio.sleep(_JOURNAL_FLUSH_S)
            try:
                await self.journal.flush()
            except Exception as error:  # the next time may do
                log.warning("%s", error)

    # Room in the staging area

    async def _reclaim(self) -> bool:
        freed = [await file.punch() for file in list(self._files.values())]
        if any(freed):
            return True
        for file in list(self._files.values()):
            if await file.a_part():
                return True
        return await self._one_less_owed()

    async def _one_less_owed(self) -> bool:
        """Wait for a file that is stored behind; False if there is none, or it takes too long."""
        if not any(file.is_owed for file in self._files.values()):
            return False
        with trio.move_on_after(self.content.s3.io_timeout):
            await self._idle.wait()
            return True
        return False


@asynccontextmanager
async def open_files(
    content: Content,
    state_dir: Path,
    *,
    staging_size: int,
    writeback: bool,
    failed: Callable[[int, Exception], None],
) -> AsyncIterator[Files]:
    """The files of a mount. What is not stored at the end stays in the journal for the next one.

    `failed` is told of failures that no close can report: the inode and the error.
    """
    journal = Journal(state_dir)
    try:
        async with trio.open_nursery() as nursery:
            background = Background(nursery)
            area = StagingArea(state_dir, staging_size, content.s3.buffers, background)
            content.index.unstage_all()
            yield Files(content, background, journal, area, writeback=writeback, failed=failed)
            nursery.cancel_scope.cancel()
    finally:
        await journal.close()
