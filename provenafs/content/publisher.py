"""How staged bytes become an object: in one request, or in the parts of an upload."""

from __future__ import annotations

import errno
import logging

import trio

from provenafs.content.journal import Journal, JournalPart, Row
from provenafs.content.planner import part_range, plan, send_parts
from provenafs.content.staging import ReadBase, StagedBytes
from provenafs.content.uploads import Base, Upload, Uploads, put
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error
from provenafs.s3.writing import Metadata, content_type

log = logging.getLogger(__name__)


class Publisher:
    """Publishes the bytes of one file, each time it changed.

    Every attempt has an id that the object carries, so that our own success after a lost answer is
    told from a conflict.
    """

    def __init__(self, uploads: Uploads, volume: Volume, journal: Journal) -> None:
        self.row = ""  # of the journal
        self.stored_mtime: float | None = None  # what the object carries
        self._uploads = uploads
        self._volume = volume
        self._journal = journal
        self._attempts = 0
        self._upload: Upload | None = None

    def recover(self, row: Row) -> None:
        """Go on counting where the journal ends."""
        self.row = row.id
        self._attempts = int(row.write_id.rpartition("-")[2]) if "-" in row.write_id else 0

    def resume(self, row: Row) -> None:
        """Go on with the upload that the journal knows."""
        assert row.upload_id is not None
        self._upload = self._new_upload(row.key, row.mtime)
        self._upload.resume(row.upload_id, row.parts)

    def reader(self, key: str, etag: str | None, size: int) -> ReadBase | None:
        """Reads of an object version, for bytes that were not written here."""
        bucket = self._volume.drive.bucket
        if etag is None:
            return None

        async def read(offset: int, length: int) -> memoryview:
            try:
                return await bucket.read_range(key, offset, min(length, size - offset), etag)
            except (PreconditionFailed, NoSuchKey):
                raise FSError(errno.ESTALE, f"{key} was changed by somebody else") from None
            finally:
                self._uploads.progress.made()

        return read

    # What has arrived

    @property
    def write_id(self) -> str:
        """The id of the latest attempt."""
        return f"{self.row}-{self._attempts}"

    @property
    def coming_write_id(self) -> str:
        """The id of the attempt under way, or else of the next."""
        return f"{self.row}-{self._attempts + (self._upload is None)}"

    @property
    def upload_id(self) -> str | None:
        """The upload under way, as the server calls it."""
        return None if self._upload is None else self._upload.upload_id

    def parts(self) -> tuple[JournalPart, ...]:
        """The acknowledged parts of the upload under way."""
        return () if self._upload is None else tuple(self._upload.parts())

    @property
    def sent_bytes(self) -> int:
        """How much of the upload under way is acknowledged, in bytes."""
        return 0 if self._upload is None else self._upload.sent_bytes

    # While more is being written

    def send_ahead(
        self, staged: StagedBytes, key: str, mtime: float | None, end: int, nursery: trio.Nursery
    ) -> None:
        """Begin to send the parts of a new object that lie before `end`."""
        upload = self._upload = self._upload or self._new_upload(key, mtime)
        while True:
            start, stop = part_range(upload.next_number)
            if stop > end:
                return
            nursery.start_soon(upload.send_ahead, staged, upload.next_number, start, stop)
            upload.next_number += 1

    def spoil(self, start: int, end: int | None = None) -> None:
        """[start, end) of the file is about to change; `end` None means all the rest."""
        if self._upload is not None:
            self._upload.spoil(start, end)

    async def punch(self, staged: StagedBytes, end: int) -> bool:
        """Give the disk space of acknowledged parts before `end` back; False if there was none."""
        freed = 0
        for start, stop in () if self._upload is None else self._upload.acknowledged():
            if stop <= end and staged.local.touches(start, stop):
                freed += await staged.punch(start, stop)
        return freed > 0

    async def a_part(self) -> bool:
        """Wait for a part that is under way; False if there is none."""
        if self._upload is None or not self._upload.is_sending:
            return False
        await self._upload.a_part()
        return True

    # The object

    async def publish(self, staged: StagedBytes, base: Base, mtime: float | None) -> str:
        """Make the object at `base` what the staged bytes are; returns its ETag.

        Raises S3Error, FSError; PreconditionFailed or NoSuchKey if the base is another by now.
        """
        what = f"storing {base.key}"
        etag = await self._uploads.progress.bound(lambda: self._send(staged, base, mtime), what)
        self._upload = None
        return etag

    async def drop(self) -> None:
        """Give the upload under way up."""
        upload, self._upload = self._upload, None
        if upload is not None:
            try:
                await upload.abort()
            except S3Error as error:
                log.warning("an unfinished upload is left behind: %s", error)

    async def _send(self, staged: StagedBytes, base: Base, mtime: float | None) -> str:
        try:
            return await self._send_once(staged, base, mtime)
        except PreconditionFailed:
            ours = await self._ours(staged, base)
            if ours is None:
                raise
            return await self._send_once(staged, ours, mtime)
        except NoSuchKey:
            # The upload may have been cleaned away; the base may be gone, which fails again.
            if staged.punched:
                message = f"the server gave up the upload of {base.key} before it was complete"
                raise FSError(errno.EIO, message) from None
            self._upload = None
            return await self._send_once(staged, base, mtime)

    async def _ours(self, staged: StagedBytes, base: Base) -> Base | None:
        """What an earlier attempt made that was taken for failed, if that is the object."""
        try:
            head = await self._volume.writer.head(base.key)
        except NoSuchKey:
            return None
        if not head.metadata.write_id.startswith(f"{self.row}-") or head.etag == base.etag:
            return None
        staged.read_base = self.reader(base.key, head.etag, head.size)
        return Base(base.key, head.etag)

    async def _send_once(self, staged: StagedBytes, base: Base, mtime: float | None) -> str:
        if staged.punched:
            parts = tuple(send_parts(0, staged.size, 1, last=True))
        else:
            parts = plan(staged.dirty, staged.base_size if base.etag else 0, staged.size)
        if len(parts) == 1 and not staged.punched:
            await self.drop()
            metadata = self._new_metadata(base.key, mtime)
            self.stored_mtime = mtime
            return await put(self._uploads, self._volume.writer, staged, base, metadata)
        upload = self._upload = self._upload or self._new_upload(base.key, mtime)
        self.stored_mtime = upload.metadata.mtime
        return await upload.complete(staged, parts, base)

    def _new_upload(self, key: str, mtime: float | None) -> Upload:
        async def begun(upload_id: str) -> None:
            await self._journal.update(self.row, upload_id=upload_id)

        metadata = self._new_metadata(key, mtime)
        return Upload(self._uploads, self._volume.writer, key, metadata, begun)

    def _new_metadata(self, key: str, mtime: float | None) -> Metadata:
        self._attempts += 1
        return Metadata(self.write_id, mtime, content_type(key))
