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
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from provenafs.content.index import Entry, Kind
from provenafs.content.journal import NOBODY, Row, State, new_row
from provenafs.content.planner import SINGLE_PUT, part_range, plan, send_parts
from provenafs.content.staging import ReadBase, StagedBytes
from provenafs.content.uploads import Base, Upload, put
from provenafs.content.volume import Volume, is_scratch
from provenafs.errors import FSError, Transient
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error, Unavailable
from provenafs.s3.writing import Metadata, content_type

if TYPE_CHECKING:
    from provenafs.content.files import Files

log = logging.getLogger(__name__)

_UNSHOWN = itertools.count(-1, -1)  # inode numbers of files that the mount does not show


class File:
    """Made at the first open of an inode, gone with the last release once all is stored."""

    def __init__(self, files: Files, volume: Volume, entry: Entry) -> None:
        self.ino = entry.ino
        self.volume = volume
        self.key = volume.drive.key(entry)
        self.name = entry.name
        self.etag = entry.etag
        self.handles = 0
        self.changed = entry.etag is None
        self.unlinked = False
        self._files = files
        self._size = entry.size  # of the object
        self._lock = trio.Lock()
        self._staged: StagedBytes | None = None
        self._row = ""
        self._state = State.OPEN
        self._publications = 0
        self._upload: Upload | None = None
        self._sequential_end = 0
        self._untouched = entry.etag is None  # as made or emptied, and nothing written since
        self._mtime = entry.mtime
        self._mtime_was_set = False
        self._stored_mtime: float | None = None  # what the object carries
        self._conflict: FSError | None = None

    @classmethod
    async def recover(cls, files: Files, volume: Volume, row: Row, key: str) -> File:
        """A file that an earlier mount left, to be stored at `key`. FSError if its bytes are gone.

        At its own key it replaces the object it was made from, at another one nothing.
        """
        name = key.rpartition("/")[2]
        entry = Entry(
            next(_UNSHOWN),
            0,
            name,
            Kind.OBJECT,
            row.base_size,
            row.base_etag,
            0.0,
            row.mtime,
            True,
            0.0,
        )
        file = cls(files, volume, entry)
        file.key = row.key
        reader = file._reader()
        file._staged = await files.area.recover(row.id, row.base_size, reader)
        file._row, file._state, file.changed, file._untouched = row.id, row.state, True, False
        file._publications = int(row.write_id.rpartition("-")[2]) if "-" in row.write_id else 0
        if key != row.key:
            file.key, file.etag = key, None
        elif row.upload_id is not None:
            file._upload = file._new_upload()
            file._upload.resume(row.upload_id, row.parts)
            for _, start, end, _, _ in row.parts:
                file._staged.note_missing(start, end)
        return file

    # What it is like

    @property
    def has_failed(self) -> bool:
        """Whether a close was answered with an error, so that only the user may send it."""
        return self._state is State.FAILED

    @property
    def is_staged(self) -> bool:
        """Whether reads have to go through here."""
        return self._staged is not None

    @property
    def is_scratch(self) -> bool:
        """Whether the name says that it stays on this machine for now."""
        return is_scratch(self.name)

    @property
    def is_owed(self) -> bool:
        """Whether a close was acknowledged whose bytes the bucket does not have yet."""
        return self._state is State.CLOSED

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
        return self._staged is not None and self._staged.local.covers(0, self._staged.size)

    @property
    def has_punched(self) -> bool:
        """Whether some bytes are in the parts of an unfinished upload only."""
        return self._staged is not None and bool(self._staged.punched)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size if self._staged is None else self._staged.size

    @property
    def mtime(self) -> float | None:
        """When it was written, or the time it was given, in seconds since the epoch."""
        return self._mtime

    @property
    def sent_bytes(self) -> int:
        """How much of it is acknowledged by the server, in bytes."""
        return 0 if self._upload is None else self._upload.sent_bytes

    # Reading and changing

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset` of what was written and, around it, of the object."""
        assert self._staged is not None
        return await self._staged.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """Write `data` at `offset`. ENOSPC, EFBIG, EIO; ESTALE after a conflict."""
        async with self._lock:
            staged = await self._begin_change(keep=True)
            staged.refuse_punched(offset, offset + len(data))
            if self._upload is not None:
                self._upload.spoil(offset, offset + len(data))
            await staged.write(offset, data)
            self._untouched = False
            self._note_change()
            if offset == self._sequential_end:
                self._sequential_end += len(data)
                self._send_ahead(staged)
            return len(data)

    async def truncate(self, size: int) -> None:
        """Cut or extend with zeros. ENOSPC, EFBIG; ESTALE after a conflict."""
        async with self._lock:
            if size == self.size and not (size == 0 and self._untouched):
                return
            staged = await self._begin_change(keep=size > 0)
            staged.refuse_punched(size - 1, size + 1)
            if self._upload is not None:
                self._upload.spoil(size)
            await staged.truncate(size)
            self._untouched = size == 0
            self._sequential_end = min(self._sequential_end, size)
            self._note_change()

    def set_mtime(self, mtime: float) -> None:
        """The user gave the file a modification time, in seconds since the epoch."""
        self._mtime, self._mtime_was_set = mtime, True
        self._files.index.update(self.ino, mtime=mtime)
        if not self.changed and not self.is_owed:
            self._touch()

    def _note_change(self) -> None:
        self.changed = True
        self._mtime, self._mtime_was_set = time.time(), False
        if not self.unlinked:
            self._files.index.update(self.ino, size=self.size, mtime=self._mtime, staged=1)

    async def _begin_change(self, *, keep: bool) -> StagedBytes:
        """The staged bytes, journalled as about to change; `keep` what the object has."""
        if self._conflict is not None:
            raise self._conflict
        if self.is_owed:
            # What a close has promised to store must not be changed before it is stored.
            await self._publish()
        files = self._files
        if self._staged is None:
            await self.volume.may_write()
            row = replace(
                new_row(files.journal.owner, self.volume.dataset, self.key),
                base_etag=self.etag,
                base_size=self._size if keep else 0,
            )
            await files.journal.add(row)
            try:
                staged = await files.area.create(row.id, row.base_size, self._reader())
            except BaseException:
                files.area.discard(row.id)
                files.journal.remove_later(row.id)
                raise
            self._row, self._staged, self._state = row.id, staged, State.OPEN
        elif self._state is State.SENT:
            await self.volume.may_write()
            await self._staged.restart_log()
            await files.journal.update(
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

    def _reader(self) -> ReadBase | None:
        """Reads of the object version that this file was made from."""
        bucket, key, size, etag = self.volume.drive.bucket, self.key, self._size, self.etag
        if etag is None:
            return None

        async def read(offset: int, length: int) -> memoryview:
            try:
                return await bucket.read_range(key, offset, min(length, size - offset), etag)
            except (PreconditionFailed, NoSuchKey):
                raise FSError(errno.ESTALE, f"{key} was changed by somebody else") from None
            finally:
                self._files.uploads.progress.made()

        return read

    # Sending parts while more is being written

    def _send_ahead(self, staged: StagedBytes) -> None:
        if self._sequential_end <= SINGLE_PUT or staged.base_size or self.is_scratch:
            return
        if self.unlinked:
            return
        upload = self._upload = self._upload or self._new_upload()
        while True:
            start, end = part_range(upload.next_number)
            if end > self._sequential_end:
                return
            self._files.nursery.start_soon(
                upload.send_ahead, staged, upload.next_number, start, end
            )
            upload.next_number += 1

    def _new_upload(self) -> Upload:
        async def begun(upload_id: str) -> None:
            await self._files.journal.update(self._row, upload_id=upload_id)

        return Upload(
            self._files.uploads, self.volume.writer, self.key, self._new_metadata(), begun
        )

    def _write_id(self, number: int) -> str:
        return f"{self._row}-{number}"

    def _new_metadata(self) -> Metadata:
        self._publications += 1
        known = self._mtime if self._upload is None else None
        return Metadata(self._write_id(self._publications), known, content_type(self.key))

    async def punch(self) -> bool:
        """Give the disk space of acknowledged parts back; False if there was none."""
        staged = self._staged
        if staged is None or self._upload is None:
            return False
        freed = 0
        for start, end in self._upload.acknowledged():
            if end <= self._sequential_end and staged.local.touches(start, end):
                freed += await staged.punch(start, end)
        return freed > 0

    async def a_part(self) -> bool:
        """Wait for a part that is under way; False if there is none."""
        if self._upload is None or not self._upload.is_sending:
            return False
        await self._upload.a_part()
        return True

    # Closing and storing

    async def flush(self) -> None:
        """A descriptor was closed: store what changed since it was last stored.

        An empty file that was just made or emptied is left for `settle`, since `cat x > f`
        closes it once before the first byte. Raises S3Error, FSError; ESTALE on a conflict.
        """
        async with self._lock:
            if self.is_scratch or (self._untouched and self.size == 0):
                return
            await self._store(behind=self._files.writeback)

    async def sync(self) -> None:
        """fsync: return once the bucket has the bytes (the disk, for a scratch file)."""
        async with self._lock:
            if self.is_scratch and self._staged is not None:
                await self._staged.sync()
                return
            await self._store(behind=False)

    async def store(self) -> None:
        """Store what changed, empty or not; behind when the mount writes back."""
        async with self._lock:
            await self._store(behind=self._files.writeback)

    async def store_now(self) -> None:
        """Store what changed or what an acknowledged close still owes."""
        async with self._lock:
            await self._store(behind=False)

    async def _store(self, *, behind: bool) -> None:
        if self._conflict is not None:
            raise self._conflict
        if self.unlinked or not (self.changed or self.is_owed):
            return
        if behind and not self.is_owed:
            await self._promise()
        elif not behind:
            await self._publish()

    async def _promise(self) -> None:
        """Make the bytes last on this machine and send them behind."""
        await self.volume.may_write()
        staged = await self._ensure_staged()
        await staged.sync()
        upload = self._upload
        await self._files.journal.update(
            self._row,
            state=State.CLOSED,
            key=self.key,
            size=staged.size,
            mtime=self._mtime,
            write_id=self._write_id(self._publications + (upload is None)),
            parts=() if upload is None else tuple(upload.parts()),
        )
        self._state, self.changed = State.CLOSED, False
        self._files.send_behind(self)

    async def _ensure_staged(self) -> StagedBytes:
        """An empty file that nobody wrote to has no staged bytes yet."""
        return self._staged or await self._begin_change(keep=True)

    async def _publish(self) -> None:
        """Make the bucket's object what the file is. The lock is held."""
        staged = await self._ensure_staged()
        try:
            await self.volume.may_write()
            what = f"storing {self.key}"
            etag = await self._files.uploads.progress.bound(lambda: self._send(staged), what)
        except Exception as error:
            await self._note_failure(error)
            raise self._conflict or error from error
        self.etag, self._size = etag, staged.size
        self._upload = None
        staged.rebase(self._reader() or _nothing)
        self.changed, self._untouched, self._state = False, False, State.SENT
        self._files.journal.update_later(
            self._row, state=State.SENT, size=staged.size, base_etag=etag, reason=""
        )
        self._show_published()
        if self._mtime_was_set and self._stored_mtime != self._mtime:
            self._touch()

    def _show_published(self) -> None:
        if self.unlinked:
            return
        if self.ino < 0:
            self.volume.drive.expire(self.key)
            return
        now = time.time()
        mtime = now if self._mtime is None else self._mtime
        self._mtime = mtime
        self._files.index.update(
            self.ino, size=self._size, etag=self.etag, modified=now, mtime=mtime
        )

    async def _send(self, staged: StagedBytes) -> str:
        try:
            return await self._send_once(staged)
        except PreconditionFailed:
            if not await self._is_ours(staged):
                raise
            return await self._send_once(staged)
        except NoSuchKey:
            # The upload may have been cleaned away; the base may be gone, which fails again.
            if staged.punched:
                message = f"the server gave up the upload of {self.key} before it was complete"
                raise FSError(errno.EIO, message) from None
            self._upload = None
            return await self._send_once(staged)

    async def _is_ours(self, staged: StagedBytes) -> bool:
        """Whether the object is what an earlier publication made that we took for failed."""
        try:
            head = await self.volume.writer.head(self.key)
        except NoSuchKey:
            return False
        if not head.metadata.write_id.startswith(f"{self._row}-") or head.etag == self.etag:
            return False
        self.etag, self._size = head.etag, head.size
        staged.read_base = self._reader()
        return True

    async def _send_once(self, staged: StagedBytes) -> str:
        base = Base(self.key, self.etag)
        if staged.punched:
            parts = tuple(send_parts(0, staged.size, 1, last=True))
        else:
            parts = plan(staged.dirty, staged.base_size if self.etag else 0, staged.size)
        if len(parts) == 1 and not staged.punched:
            await self._drop_upload()
            metadata = self._new_metadata()
            self._stored_mtime = metadata.mtime
            return await put(self._files.uploads, self.volume.writer, staged, base, metadata)
        upload = self._upload = self._upload or self._new_upload()
        self._stored_mtime = upload.metadata.mtime
        return await upload.complete(staged, parts, base)

    async def _drop_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            try:
                await upload.abort()
            except S3Error as error:
                log.warning("an unfinished upload is left behind: %s", error)

    async def _note_failure(self, error: Exception) -> None:
        if isinstance(error, (PreconditionFailed, NoSuchKey)) or (
            isinstance(error, FSError) and error.errno == errno.ESTALE
        ):
            message = f"{self.key} was changed by somebody else; your bytes are kept in recovery"
            self._conflict = FSError(errno.ESTALE, message)
            error = self._conflict
            self._files.show_theirs(self)
        elif self.is_owed and may_pass(error):
            return
        self._state, self.changed = State.FAILED, True
        try:
            await self._record_failure(str(error))
        except FSError as trouble:
            log.error("the journal does not know that %s failed: %s", self.key, trouble)

    async def _record_failure(self, reason: str) -> None:
        assert self._staged is not None
        await self._staged.sync()
        upload = self._upload
        await self._files.journal.update(
            self._row,
            state=State.FAILED,
            key=self.key,
            reason=reason,
            size=self._staged.size,
            mtime=self._mtime,
            write_id=self._write_id(self._publications),
            upload_id=None if upload is None else upload.upload_id,
            parts=() if upload is None else tuple(upload.parts()),
        )

    def _touch(self) -> None:
        if self._mtime is not None and not self.unlinked:
            self._files.touch_later(self)

    # The end

    async def finish(self) -> bool:
        """Let go of the staged bytes unless they are still needed; False if the file stays."""
        async with self._lock:
            if self.handles or self.is_owed:
                return False
            if self.unlinked:
                await self._discard()
                return True
            if self.is_scratch and self.changed:
                return False
            if self.changed:
                await self._leave_to_recovery()
            elif self._staged is not None:
                await self._discard()
                self._files.index.update(self.ino, staged=0)
            return True

    async def _discard(self) -> None:
        await self._drop_upload()
        staged, self._staged = self._staged, None
        if staged is not None:
            staged.close()
            self._files.journal.remove_later(self._row)
            self._files.area.discard(self._row)

    async def _leave_to_recovery(self) -> None:
        """Nobody holds the file any more and it could not be stored: `provenafs recover` can."""
        self._files.show_theirs(self)
        if self._staged is None:
            return
        log.warning("%s is not stored: its bytes are kept, see 'provenafs recover'", self.key)
        if not self._staged.punched:
            await self._drop_upload()
        staged, self._staged = self._staged, None
        staged.close()
        await self._files.journal.update(self._row, owner=NOBODY)

    def close(self) -> None:
        """Let go of recovered bytes without a change to them."""
        if self._staged is not None:
            self._staged.close()
            self._staged = None

    # Names

    async def move(self, key: str, name: str, etag: str | None) -> None:
        """The file has another key now; `etag` is of the object there. Only with `moving` held."""
        self.key, self.name, self.etag = key, name, etag
        if self._staged is not None:
            self._staged.read_base = self._reader()
            await self._files.journal.update(self._row, key=key, base_etag=etag)

    async def unlink(self) -> None:
        """The name is gone, and nothing is owed any more. Only with `moving` held."""
        self.unlinked = True
        if self._state is State.CLOSED:
            self._state = State.OPEN
            await self._files.journal.update(self._row, state=State.OPEN)

    async def restart_upload(self) -> None:
        """Forget the parts sent to the old key. EBUSY when they are the only copy."""
        if self.has_punched:
            message = "the file is larger than the staging area and still being uploaded"
            raise FSError(errno.EBUSY, message)
        await self._drop_upload()

    @property
    def moving(self) -> trio.Lock:
        """Held while the file's key changes, so that nothing is published meanwhile."""
        return self._lock


def may_pass(error: Exception) -> bool:
    """Whether a failure says nothing about the bytes: the network, the server, a timeout."""
    return isinstance(error, (Unavailable, Transient))


async def _nothing(offset: int, size: int) -> bytes:
    return b""
