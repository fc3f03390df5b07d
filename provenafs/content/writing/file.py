"""One inode that is open, or whose bytes the bucket does not have yet.

What belongs to the inode is here, whichever handle it came through: its name, the version of its
object, its attributes, and how it differs from the object (`file_state`). What is written goes to
its `WorkingCopy`. `_lock` is held by whoever changes the bytes or publishes them, so that what is
published never changes while it is read; reads take no lock.
"""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from typing import Protocol

import trio

from provenafs.content.journal_schema import new_row
from provenafs.content.listing.index import Entry
from provenafs.content.object_version import ObjectVersion
from provenafs.content.staging.staged_bytes import ReadBase, StagedBytes
from provenafs.content.volume import Volume, is_scratch
from provenafs.content.writing.attributes import FileAttributes
from provenafs.content.writing.file_state import FileState, Operation
from provenafs.content.writing.journal_row import JournalRow
from provenafs.content.writing.publisher import reading
from provenafs.content.writing.services import FileServices
from provenafs.content.writing.working_copy import WorkingCopy
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, is_transient

log = logging.getLogger(__name__)


class FileEvents(Protocol):
    """Callbacks of a file to its owner."""

    def acknowledged(self, file: File) -> None:
        """A close was acknowledged: store the bytes in the background."""

    def attributes_set(self, file: File) -> None:
        """A time or mode was set that the stored object does not have."""


class File:
    """Made at the first open of an inode, gone with the last release once all is stored."""

    def __init__(
        self, services: FileServices, events: FileEvents, volume: Volume, entry: Entry, key: str
    ) -> None:
        self.ino = entry.ino
        self.volume = volume
        self.name = entry.name
        self.version = ObjectVersion(key, entry.etag, entry.size)
        self.uses = 0  # handles, and operations by name that are under way
        self.cuts = 0  # how often it was cut or extended
        self.cutting: trio.Event | None = None  # set once the last of these is done
        self.is_lost = False  # this mount has replaced or deleted the object, or is about to
        self._services = services
        self._events = events
        self._lock = trio.Lock()
        self._state = FileState.NEW if entry.etag is None else FileState.CLEAN
        self._copy: WorkingCopy | None = None
        self._kept: StagedBytes | None = None  # the object as it was, for handles still open
        self._attributes = FileAttributes(entry)

    def adopt(self, copy: WorkingCopy, state: FileState) -> None:
        """Go on with what an earlier mount has left."""
        self._copy, self._state = copy, state

    # Attributes

    @property
    def state(self) -> FileState:
        """How it differs from its object."""
        return self._state

    @property
    def changed(self) -> bool:
        """Whether a close has something to store, or was refused it."""
        return self._state.is_changed

    @property
    def unlinked(self) -> bool:
        """Whether its name is gone."""
        return self._state is FileState.UNLINKED

    @property
    def awaits_writeback(self) -> bool:
        """Whether a close was acknowledged whose bytes the bucket does not have yet."""
        return self._state is FileState.ACKNOWLEDGED

    @property
    def is_unstored(self) -> bool:
        """Whether the bucket does not have it as it is."""
        return self.changed or self.awaits_writeback

    @property
    def must_be_stored(self) -> bool:
        """Whether there is a change that the bucket should have, and that was not refused."""
        return self.changed and not (self._state.was_refused or self.is_scratch)

    @property
    def is_here(self) -> bool:
        """Whether reads have to go through here."""
        return bool(self._copy or self._kept) or self._state is FileState.NEW

    @property
    def is_complete(self) -> bool:
        """Whether it can be read without the bucket."""
        if self._copy is None:
            return self._kept is not None or self._state is FileState.NEW
        return self._copy.staged.local.covers(0, self._copy.staged.size)

    @property
    def may_be_followed(self) -> bool:
        """Whether it is what the bucket has or had, so that a longer version is the file grown."""
        return not (self.is_here or self.is_unstored or self.unlinked or self.is_lost)

    @property
    def is_scratch(self) -> bool:
        """Whether the name is a scratch name, which stays on this machine."""
        return is_scratch(self.name)

    @property
    def key(self) -> str:
        """The key of its object, or of the one it is to become."""
        return self.version.key

    @property
    def etag(self) -> str | None:
        """The ETag of the object that it is, or that it is to replace; None if there is none."""
        return self.version.etag

    @property
    def size(self) -> int:
        """Size in bytes."""
        if self._copy is not None:
            return self._copy.staged.size
        return 0 if self._state is FileState.NEW else self.version.size

    @property
    def sent_bytes(self) -> int:
        """How much of it is acknowledged by the server, in bytes."""
        return 0 if self._copy is None else self._copy.publisher.sent_bytes

    @property
    def row(self) -> JournalRow | None:
        """Its journal row."""
        return None if self._copy is None else self._copy.row

    def shown(self, entry: Entry) -> Entry:
        """Its entry, whose name is gone, with what was done since through open handles."""
        given = self._attributes
        return entry._replace(
            size=self.size, mtime_ns=given.mtime_ns, ctime_ns=given.ctime_ns, mode=given.mode,
            staged=True,
        )  # fmt: skip

    # Reading and changing

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset` of what was written and, around it, of the object."""
        here = self._kept if self._copy is None else self._copy.staged
        return b"" if here is None else await here.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """Write `data` at `offset`. ENOSPC, EFBIG, EIO; ESTALE after a conflict."""
        async with self._lock:
            copy = await self._begin_change()
            is_in_sequence = await copy.write(offset, data)
            self._note_change()
            if is_in_sequence and not (self.is_scratch or self.unlinked):
                await copy.send_ahead(self.version, self._attributes.to_store)
            return len(data)

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros. ENOSPC, EFBIG; ESTALE after a conflict."""
        async with self._lock:
            if size == self.size and not self._is_empty:
                return
            copy = await self._begin_change(keep=size > 0)
            self.cuts += 1
            self.cutting = trio.Event()
            try:
                await copy.truncate(size)
            finally:
                self.cutting.set()
            self._note_change()

    def set_attributes(self, mtime_ns: int | None, mode: int | None) -> None:
        """The user gave the file a time, in nanoseconds since the epoch, or permission bits."""
        given = self._attributes.give(mtime_ns, mode)
        self._services.index.update(self.ino, **given)
        if len(given) > 1 and not self.is_unstored:
            self._touch()

    def _touch(self) -> None:
        if not self.unlinked:
            self._events.attributes_set(self)

    @property
    def _is_empty(self) -> bool:
        """Whether it was made or emptied, and nothing was written since."""
        return self.changed and self.size == 0

    def _note_change(self) -> None:
        self._enter(Operation.CHANGE)
        self._attributes.written()
        if not self.unlinked:
            now = self._attributes.mtime_ns
            self._services.index.update(
                self.ino, size=self.size, mtime_ns=now, ctime_ns=now, staged=1
            )

    def _enter(self, operation: Operation) -> None:
        self._state = self._state.after(operation)

    async def _begin_change(self, *, keep: bool = True) -> WorkingCopy:
        """The working copy, journalled as about to change; `keep` what the object has."""
        self._refuse_conflict()
        if self.awaits_writeback:
            # Bytes of an acknowledged close must not change before they are stored.
            await self._publish()
        copy = self._copy
        if copy is None:
            copy = self._copy = await self._stage(keep=keep)
        elif self._state is FileState.STORED:
            await self.volume.may_write()
            await copy.reopen(self.version)
        self._enter(Operation.STAGE)
        return copy

    async def _stage(self, *, keep: bool) -> WorkingCopy:
        await self.volume.may_write()
        is_new, services = self._state is FileState.NEW, self._services
        row = replace(
            new_row(services.journal.owner, self.volume.dataset, self.key),
            base_etag=self.etag,
            base_size=self.version.size if keep and not is_new else 0,
            replaces=is_new and self.etag is not None,
        )
        return await WorkingCopy.stage(
            services, self.volume, row, self._read_base(), is_owed=not self.unlinked
        )

    def _read_base(self) -> ReadBase | None:
        """Reads of the object version that this file was made from."""
        if self.is_lost and self._kept is not None:
            return self._kept.read
        return reading(self._services.uploads, self.volume, self.version)

    def _refuse_conflict(self) -> None:
        if self._state.is_conflict:
            raise self._conflict()

    def _conflict(self) -> FSError:
        message = f"{self.key} was changed by another client; your bytes are kept in recovery"
        return FSError(errno.ESTALE, message)

    # Room for other files

    async def punch(self) -> bool:
        """Give the disk space of acknowledged parts back; False if there was none."""
        return self._copy is not None and await self._copy.publisher.punch()

    async def wait_for_part(self) -> bool:
        """Wait for a part that is under way; False if there is none."""
        return self._copy is not None and await self._copy.publisher.wait_for_part()

    # Closing and storing

    async def flush(self) -> None:
        """A descriptor was closed: store what changed since it was last stored.

        An empty file that was just made or emptied is left for `settle`, since `cat x > f`
        closes it once before the first byte. Raises S3Error, FSError; ESTALE on a conflict.
        """
        async with self._lock:
            if not (self.is_scratch or self._is_empty):
                await self._store(in_background=self._services.writeback)

    async def sync(self) -> None:
        """fsync: return once the bucket has the bytes (the disk, for a scratch file)."""
        async with self._lock:
            if self.is_scratch and self._copy is not None:
                await self._copy.staged.sync()
                return
            await self._store(in_background=False)

    async def store(self) -> None:
        """Store what changed, empty or not; in the background with --writeback."""
        async with self._lock:
            await self._store(in_background=self._services.writeback)

    async def store_now(self) -> None:
        """Store changes, or the bytes of an acknowledged close."""
        async with self._lock:
            await self._store(in_background=False)

    async def _store(self, *, in_background: bool) -> None:
        self._refuse_conflict()
        if in_background and self.changed:
            await self._acknowledge()
        elif self.is_unstored and not in_background:
            await self._publish()

    async def _acknowledge(self) -> None:
        """Sync the bytes to the local disk, and upload them in the background."""
        await self.volume.may_write()
        copy = await self._working_copy()
        await copy.acknowledge(self.key, self._attributes.to_store)
        self._enter(Operation.ACKNOWLEDGE)
        self._events.acknowledged(self)

    async def _working_copy(self) -> WorkingCopy:
        """An empty file that nobody wrote to has none yet."""
        return self._copy or await self._begin_change()

    async def _publish(self) -> None:
        """Make the bucket's object what the file is. The lock is held."""
        copy = await self._working_copy()
        try:
            await self.volume.may_write()
            etag = await copy.publisher.publish(self.version, self._attributes.to_store)
        except Exception as error:
            await self._close_failed(copy, error)
            raise
        self.version = ObjectVersion(self.key, etag, copy.staged.size)
        copy.stored(self.version, self._read_base())
        self._enter(Operation.STORE)
        self._show_stored()
        if not self._attributes.are_in(copy.publisher.stored):
            self._touch()

    async def _close_failed(self, copy: WorkingCopy, error: Exception) -> None:
        """Journal that the bytes are not stored, and why. Raises the conflict, if it is one."""
        if self.awaits_writeback and is_transient(error):
            return
        is_conflict = _is_conflict(error)
        reason = self._conflict() if is_conflict else error
        self._enter(Operation.CONFLICT if is_conflict else Operation.FAIL)
        if is_conflict:
            self._show_theirs()
        try:
            await copy.fail(self.key, self._attributes.to_store, str(reason))
        except FSError as trouble:
            log.error("the failure of %s could not be journalled: %s", self.key, trouble)
        if is_conflict:
            raise reason from error

    def _show_stored(self) -> None:
        if self.ino < 0:
            self.volume.drive.expire(self.key)
            return
        self._attributes.stored()
        self._services.index.update(
            self.ino,
            size=self.version.size,
            etag=self.etag,
            modified_ns=0,
            mtime_ns=self._attributes.mtime_ns,
            ctime_ns=self._attributes.ctime_ns,
        )

    def _show_theirs(self) -> None:
        """Our bytes are not the file's any more: show what the bucket has."""
        index = self._services.index
        entry = index.get(self.ino)
        if entry is None:
            return
        if self.etag is None:
            index.remove(self.ino)
        else:
            index.revert_to_bucket(self.ino, self.version.size, self.etag)
        self.volume.drive.invalidate(entry)

    # The end

    async def finish(self) -> bool:
        """Let go of the working copy unless it is still needed; False if the file stays."""
        async with self._lock:
            if self.uses or self.awaits_writeback or (self.is_scratch and self.changed):
                return False
            await self._release()
            kept, self._kept = self._kept, None
            if kept is not None:
                await kept.discard()
            return True

    async def _release(self) -> None:
        """Nobody holds the file any more: what could not be stored, `provenafs recover` can."""
        copy, is_owed, is_complete = self._copy, self.changed, self._state.was_refused
        if is_owed:
            self._show_theirs()
        if copy is not None:
            await copy.end_upload(keeps_parts=is_owed)
        self._copy = None
        self._enter(Operation.RELEASE)  # a pending store has nothing to store
        if copy is None:
            return
        if is_owed:
            await copy.leave(self.key, is_complete=is_complete)
            return
        await copy.discard()
        if not self.unlinked:
            self._services.index.update(self.ino, staged=0)

    def close(self) -> None:
        """Let go of recovered bytes without a change to them."""
        if self._copy is not None:
            self._copy.staged.close()
            self._copy = None

    # Names: only with `name_lock` held, and by NameChanges, which lets the journal know first.

    @property
    def name_lock(self) -> trio.Lock:
        """Held while the file's key changes, so that nothing is published meanwhile."""
        return self._lock

    def move(self, to: ObjectVersion, name: str) -> None:
        """The file has another key now, where the object is `to`."""
        self.version, self.name = to, name
        if self._copy is not None:
            self._copy.staged.read_base = self._read_base()

    def unlink(self) -> None:
        """The name is gone and nothing need be stored; open handles keep the bytes."""
        if self._state is FileState.NEW:
            self.version = ObjectVersion(self.key, None)  # what it was to replace is another file
        self._enter(Operation.UNLINK)
        if self._copy is not None:
            self._services.area.discard(self._copy.staged.name)

    async def take_all(self, read: ReadBase) -> None:
        """Have all bytes of the object here, for those who have it open.

        Raises what `read` does.
        """
        if self._copy is not None:
            await self._copy.staged.fill(read)
            return
        kept = await self._services.area.unnamed(self.version.size)
        try:
            await kept.fill(read)
        except BaseException:
            await kept.discard()
            raise
        self._kept = kept

    async def restart_upload(self) -> None:
        """Forget the parts sent to the old key. EBUSY when they are the only copy."""
        if self._copy is not None:
            await self._copy.restart_upload()

    async def give_up_upload(self) -> None:
        """Abort the upload under way, if there is one."""
        if self._copy is not None:
            await self._copy.end_upload()


def _is_conflict(error: Exception) -> bool:
    """Whether another client's version is where this file was to be stored."""
    if isinstance(error, FSError):
        return error.errno == errno.ESTALE
    return isinstance(error, (PreconditionFailed, NoSuchKey))
