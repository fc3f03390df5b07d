"""One inode that is open, or whose bytes the bucket does not have yet.

What belongs to the inode is here, whichever handle it came through: staged bytes, whether they
differ from the object, the error of the last publication. `_lock` is held by whoever changes the
bytes or publishes them, so that what is published never changes while it is read; reads take no
lock.
"""

from __future__ import annotations

import errno
import itertools
import logging
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Protocol

import trio

from provenafs.content.journal_rows import Row, State, Statement, changed_row, new_row, removed_row
from provenafs.content.listing.index import Entry, Kind
from provenafs.content.mount_lock import UNOWNED
from provenafs.content.staging.staged_bytes import ReadBase, StagedBytes
from provenafs.content.volume import Volume, is_scratch
from provenafs.content.writing.multipart import BaseVersion
from provenafs.content.writing.publisher import Attributes, Publisher
from provenafs.content.writing.services import FileServices
from provenafs.content.writing.upload_plan import SINGLE_PUT
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, is_transient

log = logging.getLogger(__name__)

_UNSHOWN = itertools.count(-1, -1)  # inode numbers of files that the mount does not show


class FileEvents(Protocol):
    """What a file tells its owner."""

    def acknowledged(self, file: File) -> None:
        """A close was answered: the bytes are to be stored in the background."""

    def attributes_set(self, file: File) -> None:
        """A time or mode was set that the stored object does not have."""


class File:
    """Made at the first open of an inode, gone with the last release once all is stored."""

    def __init__(
        self, services: FileServices, events: FileEvents, volume: Volume, entry: Entry, key: str
    ) -> None:
        self.ino = entry.ino
        self.volume = volume
        self.key = key
        self.name = entry.name
        self.etag = entry.etag
        self.uses = 0  # handles, and operations by name that are under way
        self.changed = entry.etag is None
        self.unlinked = False
        self.cuts = 0  # how often it was cut or extended
        self.cutting: trio.Event | None = None  # set once the last of these is done
        self.is_lost = False  # this mount has replaced or deleted the object, or is about to
        self._services = services
        self._events = events
        self._size = entry.size  # of the object
        self._lock = trio.Lock()
        self._staged: StagedBytes | None = None
        self._kept: StagedBytes | None = None  # the object as it was, for handles still open
        self._state = State.OPEN
        self._publisher = Publisher(services.uploads, volume, services.journal, is_new=self.changed)
        self._sequential_end = 0
        self._untouched = entry.etag is None  # as made or emptied, and nothing written since
        self._mtime_ns = entry.mtime_ns
        self._mtime_was_set = False
        self._ctime_ns = entry.shown_ctime_ns
        self._mode = entry.mode
        self._conflict: FSError | None = None

    @classmethod
    async def recover(
        cls, services: FileServices, events: FileEvents, volume: Volume, row: Row, key: str
    ) -> File:
        """A file that an earlier mount left, to be stored at `key`. FSError if its bytes are gone.

        At its own key it replaces the object it was made from, at another one nothing.
        """
        if row.parts and key != row.key:
            message = f"part of it is in an unfinished upload to {row.key} only: send it there"
            raise FSError(errno.EIO, message)
        name = key.rpartition("/")[2]
        entry = Entry(
            next(_UNSHOWN), 0, name, Kind.OBJECT, row.base_size, row.base_etag, 0, row.mtime_ns,
            None, row.mode, None, True, 0.0,
        )  # fmt: skip
        file = cls(services, events, volume, entry, row.key)
        punched = [(start, end) for _, start, end, _, _ in row.parts]
        file._staged = await services.area.recover(row.id, row.base_size, file._reader(), punched)
        if row.state is State.CLOSED and file._staged.size > row.size:
            await file._staged.truncate(row.size)  # a write that failed has left more
        file._state, file.changed, file._untouched = row.state, True, False
        file._publisher.recover(row)
        if row.parts:
            file._publisher.resume(row)
        if key != row.key:
            file.key, file.etag = key, None
        if file.etag is None or row.replaces:
            file._publisher.forget_metadata()
        return file

    # What it is like

    @property
    def has_failed(self) -> bool:
        """Whether a close was answered with an error, so that only the user may send it."""
        return self._state is State.FAILED

    @property
    def must_be_stored(self) -> bool:
        """Whether there is a change that the bucket should have, and that was not refused."""
        return self.changed and not (self.has_failed or self.is_scratch or self.unlinked)

    @property
    def is_here(self) -> bool:
        """Whether reads have to go through here."""
        return self._staged is not None or self._kept is not None

    @property
    def may_be_followed(self) -> bool:
        """Whether it is what the bucket has or had, so that a longer version is the file grown."""
        return not (self.is_here or self.changed or self.unlinked or self.is_lost)

    def grow(self, size: int, etag: str) -> None:
        """Be a version of `size` bytes that begins with the one so far."""
        self._size, self.etag = size, etag

    @property
    def is_scratch(self) -> bool:
        """Whether the name says that it stays on this machine for now."""
        return is_scratch(self.name)

    @property
    def awaits_writeback(self) -> bool:
        """Whether a close was acknowledged whose bytes the bucket does not have yet."""
        return self._state is State.CLOSED

    @property
    def place(self) -> tuple[str, str | None]:
        """Key and ETag of the object: another one, of the same bytes, once it was moved here."""
        return self.key, self.etag

    @property
    def state(self) -> State:
        """What the journal says of it."""
        return self._state

    @property
    def is_unpublished(self) -> bool:
        """Whether the bucket has no object for it."""
        return self.etag is None

    @property
    def is_complete(self) -> bool:
        """Whether it can be read without the bucket."""
        if self._staged is None:
            return self._kept is not None
        return self._staged.local.covers(0, self._staged.size)

    @property
    def has_punched(self) -> bool:
        """Whether some bytes are in the parts of an unfinished upload only."""
        return self._staged is not None and bool(self._staged.punched)

    @property
    def size(self) -> int:
        """Size in bytes."""
        if self._staged is None:
            return 0 if self._untouched else self._size
        return self._staged.size

    @property
    def object_size(self) -> int:
        """Size in bytes of the object version `etag`."""
        return self._size

    @property
    def sent_bytes(self) -> int:
        """How much of it is acknowledged by the server, in bytes."""
        return self._publisher.sent_bytes

    def shown(self, entry: Entry) -> Entry:
        """Its entry, whose name is gone, with what was done since through open handles."""
        return entry._replace(
            size=self.size, mtime_ns=self._mtime_ns, ctime_ns=self._ctime_ns, mode=self._mode,
            staged=True,
        )  # fmt: skip

    # Reading and changing

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset` of what was written and, around it, of the object."""
        here = self._staged or self._kept
        assert here is not None
        return await here.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """Write `data` at `offset`. ENOSPC, EFBIG, EIO; ESTALE after a conflict."""
        async with self._lock:
            staged = await self._begin_change(keep=True)
            staged.refuse_punched(offset, offset + len(data))
            self._publisher.spoil(offset, offset + len(data))
            await staged.write(offset, data)
            self._untouched = False
            self._note_change()
            if offset == self._sequential_end:
                self._sequential_end += len(data)
                await self._send_ahead(staged)
            return len(data)

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros. ENOSPC, EFBIG; ESTALE after a conflict."""
        async with self._lock:
            if size == self.size and not (size == 0 and self._untouched):
                return
            staged = await self._begin_change(keep=size > 0)
            staged.refuse_punched(size - 1, size + 1)
            self._publisher.spoil(size)
            self.cuts += 1
            self.cutting = trio.Event()
            try:
                await staged.truncate(size)
            finally:
                self.cutting.set()
            self._untouched = size == 0
            self._sequential_end = min(self._sequential_end, size)
            self._note_change()

    def set_attributes(self, mtime_ns: int | None, mode: int | None) -> None:
        """The user gave the file a time, in nanoseconds since the epoch, or permission bits."""
        given: dict[str, int] = {"ctime_ns": time.time_ns()}
        if mtime_ns is not None:
            self._mtime_ns, self._mtime_was_set = mtime_ns, True
            given["mtime_ns"] = mtime_ns
        if mode is not None:
            self._mode = mode
            given["mode"] = mode
        self._ctime_ns = given["ctime_ns"]
        self._services.index.update(self.ino, **given)
        if len(given) > 1 and not self.changed and not self.awaits_writeback:
            self._touch()

    def _note_change(self) -> None:
        self.changed = True
        self._mtime_ns = self._ctime_ns = now = time.time_ns()
        self._mtime_was_set = False
        if not self.unlinked:
            self._services.index.update(
                self.ino, size=self.size, mtime_ns=now, ctime_ns=now, staged=1
            )

    async def _begin_change(self, *, keep: bool) -> StagedBytes:
        """The staged bytes, journalled as about to change; `keep` what the object has."""
        if self._conflict is not None:
            raise self._conflict
        if self.awaits_writeback:
            # What a close has promised to store must not be changed before it is stored.
            await self._publish()
        if self._staged is None:
            self._staged = await self._stage(keep=keep)
        elif self._state is State.SENT:
            await self.volume.may_write()
            if not self.unlinked:
                await self._staged.restart_log()
            await self._services.journal.update(
                self._row,
                state=State.OPEN,
                key=self.key,
                base_etag=self.etag,
                base_size=self._staged.base_size,
                upload_id=None,
                parts=(),
            )
            self._state = State.OPEN
        return self._staged

    async def _stage(self, *, keep: bool) -> StagedBytes:
        await self.volume.may_write()
        services = self._services
        row = replace(
            new_row(services.journal.owner, self.volume.dataset, self.key),
            base_etag=self.etag,
            base_size=self._size if keep else 0,
        )
        if not self.unlinked:
            await services.journal.add(row)
        try:
            staged = await services.area.create(row.id, row.base_size, self._reader())
        except BaseException:
            services.area.discard(row.id)
            services.journal.remove_later(row.id)
            raise
        if self.unlinked:
            services.area.discard(row.id)
        self._publisher.row, self._state = row.id, State.OPEN
        return staged

    @property
    def _row(self) -> str:
        return self._publisher.row

    def _reader(self) -> ReadBase | None:
        """Reads of the object version that this file was made from."""
        if self.is_lost and self._kept is not None:
            return self._kept.read
        return self._publisher.reader(self.key, self.etag, self._size)

    # Sending parts while more is being written

    async def _send_ahead(self, staged: StagedBytes) -> None:
        end = self._sequential_end
        if end <= SINGLE_PUT or staged.base_size or self.is_scratch or self.unlinked:
            return
        await self._publisher.send_ahead(
            staged, BaseVersion(self.key, self.etag), self._attributes, end, self._services.nursery
        )

    @property
    def _attributes(self) -> Attributes:
        return Attributes(self._mtime_ns, self._mode)

    async def punch(self) -> bool:
        """Give the disk space of acknowledged parts back; False if there was none."""
        return self._staged is not None and await self._publisher.punch(
            self._staged, self._sequential_end
        )

    async def wait_for_part(self) -> bool:
        """Wait for a part that is under way; False if there is none."""
        return await self._publisher.wait_for_part()

    # Closing and storing

    async def flush(self) -> None:
        """A descriptor was closed: store what changed since it was last stored.

        An empty file that was just made or emptied is left for `settle`, since `cat x > f`
        closes it once before the first byte. Raises S3Error, FSError; ESTALE on a conflict.
        """
        async with self._lock:
            if self.is_scratch or (self._untouched and self.size == 0):
                return
            await self._store(in_background=self._services.writeback)

    async def sync(self) -> None:
        """fsync: return once the bucket has the bytes (the disk, for a scratch file)."""
        async with self._lock:
            if self.is_scratch and self._staged is not None:
                await self._staged.sync()
                return
            await self._store(in_background=False)

    async def store(self) -> None:
        """Store what changed, empty or not; in the background with --writeback."""
        async with self._lock:
            await self._store(in_background=self._services.writeback)

    async def store_now(self) -> None:
        """Store what changed or what an acknowledged close still owes."""
        async with self._lock:
            await self._store(in_background=False)

    async def _store(self, *, in_background: bool) -> None:
        if self._conflict is not None:
            raise self._conflict
        if self.unlinked or not (self.changed or self.awaits_writeback):
            return
        if in_background and not self.awaits_writeback:
            await self._promise()
        elif not in_background:
            await self._publish()

    async def _promise(self) -> None:
        """Sync the bytes to the local disk, and upload them in the background."""
        await self.volume.may_write()
        staged = await self._ensure_staged()
        await staged.sync()
        await self._services.journal.update(
            self._row,
            state=State.CLOSED,
            key=self.key,
            size=staged.size,
            mtime_ns=self._mtime_ns,
            mode=self._mode,
            write_id=self._publisher.coming_write_id,
        )
        self._state, self.changed = State.CLOSED, False
        self._events.acknowledged(self)

    async def _ensure_staged(self) -> StagedBytes:
        """An empty file that nobody wrote to has no staged bytes yet."""
        return self._staged or await self._begin_change(keep=True)

    async def _publish(self) -> None:
        """Make the bucket's object what the file is. The lock is held."""
        staged = await self._ensure_staged()
        try:
            await self.volume.may_write()
            base = BaseVersion(self.key, self.etag)
            etag = await self._publisher.publish(staged, base, self._attributes)
        except Exception as error:
            await self._note_failure(error)
            raise self._conflict or error from error
        self.etag, self._size = etag, staged.size
        staged.rebase(self._reader() or _nothing)
        self.changed, self._untouched, self._state = False, False, State.SENT
        self._services.journal.update_later(
            self._row, state=State.SENT, size=staged.size, base_etag=etag, reason="", replaces=False
        )
        self._show_published()
        stored = self._publisher.stored
        if (self._mtime_was_set and stored.mtime_ns != self._mtime_ns) or stored.mode != self._mode:
            self._touch()

    def _show_published(self) -> None:
        if self.unlinked:
            return
        if self.ino < 0:
            self.volume.drive.expire(self.key)
            return
        if self._mtime_ns is None:
            self._mtime_ns = self._ctime_ns = time.time_ns()
        self._services.index.update(
            self.ino,
            size=self._size,
            etag=self.etag,
            modified_ns=0,
            mtime_ns=self._mtime_ns,
            ctime_ns=self._ctime_ns,
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
            index.revert_to_bucket(self.ino, self._size, self.etag)
        self.volume.drive.invalidate(entry)

    async def _note_failure(self, error: Exception) -> None:
        if isinstance(error, (PreconditionFailed, NoSuchKey)) or (
            isinstance(error, FSError) and error.errno == errno.ESTALE
        ):
            message = f"{self.key} was changed by another client; your bytes are kept in recovery"
            self._conflict = FSError(errno.ESTALE, message)
            error = self._conflict
            self._show_theirs()
        elif self.awaits_writeback and is_transient(error):
            return
        self._state, self.changed = State.FAILED, True
        try:
            await self._record_failure(str(error))
        except FSError as trouble:
            log.error("the failure of %s could not be journalled: %s", self.key, trouble)

    async def _record_failure(self, reason: str) -> None:
        assert self._staged is not None
        await self._staged.sync()
        await self._services.journal.update(
            self._row,
            state=State.FAILED,
            key=self.key,
            reason=reason,
            size=self._staged.size,
            mtime_ns=self._mtime_ns,
            mode=self._mode,
            write_id=self._publisher.write_id,
        )

    def _touch(self) -> None:
        if not self.unlinked:
            self._events.attributes_set(self)

    # The end

    async def finish(self) -> bool:
        """Let go of the staged bytes unless they are still needed; False if the file stays."""
        async with self._lock:
            if self.uses or self.awaits_writeback:
                return False
            if self.unlinked:
                await self._discard()
                await self._discard_kept()
                return True
            if self.is_scratch and self.changed:
                return False
            if self.changed:
                await self._leave_to_recovery()
                self.changed = False  # whoever still waits to store it has nothing to store
            elif self._staged is not None:
                await self._discard()
                self._services.index.update(self.ino, staged=0)
            await self._discard_kept()
            return True

    async def _discard(self) -> None:
        await self._publisher.drop()
        staged, self._staged = self._staged, None
        if staged is not None:
            await staged.discard()
            self._services.journal.remove_later(self._row)

    async def _discard_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.discard()

    async def _leave_to_recovery(self) -> None:
        """Nobody holds the file any more and it could not be stored: `provenafs recover` can."""
        self._show_theirs()
        if self._staged is None:
            return
        log.warning("%s is not stored: its bytes are kept, see 'provenafs recover'", self.key)
        if self._staged.punched:
            await self._publisher.leave()
        else:
            await self._publisher.drop()
        staged, self._staged = self._staged, None
        try:
            await staged.leave()
        except FSError as error:
            log.error("the last bytes written to %s are lost: %s", self.key, error)
            self._state = State.OPEN  # incomplete
        await self._services.journal.update(self._row, owner=UNOWNED, state=self._state)

    def close(self) -> None:
        """Let go of recovered bytes without a change to them."""
        if self._staged is not None:
            self._staged.close()
            self._staged = None

    # Names: only with `name_lock` held. The journal is told first, of all that changes at once; no
    # `await` is between that and the change.

    def journal_move(
        self, key: str, etag: str | None, *, replaces: bool = False
    ) -> list[Statement]:
        """What the journal is to be told before `move`.

        `replaces`: the object there is another file, whose name this one takes once it is stored.
        """
        if self._staged is None:
            return []
        columns = {"replaces": True} if replaces else {}
        return [changed_row(self._row, key=key, base_etag=etag, **columns)]

    def move(self, key: str, name: str, etag: str | None, object_size: int | None = None) -> None:
        """The file has another key now; `etag` is of the object there.

        `object_size` in bytes where that object is another than the file had before.
        """
        self.key, self.name, self.etag = key, name, etag
        self._size = self._size if object_size is None else object_size
        if self._staged is not None:
            self._staged.read_base = self._reader()

    async def take_all(self, read: ReadBase) -> None:
        """Have all bytes of the object here, for those who have it open.

        Raises what `read` does.
        """
        if self._staged is not None:
            await self._staged.fill(read)
            return
        kept = await self._services.area.unnamed(self._size)
        try:
            await kept.fill(read)
        except BaseException:
            await kept.discard()
            raise
        self._kept = kept

    def journal_unlink(self) -> list[Statement]:
        """What the journal is to be told before `unlink`."""
        return [] if self._staged is None else [removed_row(self._row)]

    def unlink(self) -> None:
        """The name is gone, and nothing is owed any more; open handles keep the bytes."""
        self.unlinked = True
        if self._state is State.CLOSED:
            self._state = State.OPEN
        if self._staged is not None:
            self._services.area.discard(self._staged.name)

    @property
    def rows(self) -> tuple[str, ...]:
        """The journal row of the staged bytes, if there are any."""
        return () if self._staged is None else (self._row,)

    async def restart_upload(self) -> None:
        """Forget the parts sent to the old key. EBUSY when they are the only copy."""
        if self.has_punched:
            message = "the file is larger than the staging area and still being uploaded"
            raise FSError(errno.EBUSY, message)
        await self.give_up_upload()

    async def give_up_upload(self) -> None:
        """Abort the upload under way, if there is one."""
        await self._publisher.drop()

    @property
    def name_lock(self) -> trio.Lock:
        """Held while the file's key changes, so that nothing is published meanwhile."""
        return self._lock


async def lock_all(stack: AsyncExitStack, files: Iterable[File]) -> None:
    """Hold `moving` of several files, in the order that keeps two holders from waiting in turn."""
    for file in sorted(files, key=lambda file: file.ino):
        await stack.enter_async_context(file.name_lock)


async def _nothing(offset: int, size: int) -> bytes:
    return b""
