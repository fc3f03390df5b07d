"""Publishes staged bytes as an object: with one PUT, or a multipart upload."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace

import trio

from provenafs.content.journal_schema import Row
from provenafs.content.object_version import ObjectVersion
from provenafs.content.staging.staged_bytes import ReadBase, StagedBytes
from provenafs.content.volume import Volume
from provenafs.content.writing.attributes import Attributes
from provenafs.content.writing.journal_row import JournalRow
from provenafs.content.writing.multipart import Upload, UploadContext, put
from provenafs.content.writing.upload_plan import (
    SINGLE_PUT,
    in_other_parts,
    plan,
    send_parts,
)
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error
from provenafs.s3.metadata import Head, Metadata, content_type

log = logging.getLogger(__name__)

_NOTHING = Metadata("", content_type="")
_RETRIES = 2  # of an attempt that was carried out though it seemed to fail


def reading(uploads: UploadContext, volume: Volume, version: ObjectVersion) -> ReadBase | None:
    """Reads of an object version, for bytes that were not written here. ESTALE if it is gone."""
    bucket, key, etag, size = volume.drive.bucket, version.key, version.etag, version.size
    if etag is None:
        return None

    async def read(offset: int, length: int) -> memoryview:
        try:
            end = min(offset + length, size)
            return await bucket.read_range(key, offset, end - offset, etag, size=size)
        except (PreconditionFailed, NoSuchKey):
            raise FSError(errno.ESTALE, f"{key} was changed by another client") from None
        finally:
            uploads.progress.made()

    return read


class Publisher:
    """Publishes the staged bytes of one file, each time they changed.

    Every attempt has an id that the object carries, so that our own success after a lost answer is
    distinguished from a conflict. Foreign metadata of the object goes with it.
    """

    def __init__(
        self,
        uploads: UploadContext,
        volume: Volume,
        staged: StagedBytes,
        row: JournalRow,
        *,
        is_new: bool,
    ) -> None:
        """`is_new`: the file has no object yet whose metadata would have to be kept."""
        self.stored = Attributes()  # that the object carries, by what was sent
        self._found: Metadata | None = _NOTHING if is_new else None  # on the object
        self._uploads = uploads
        self._volume = volume
        self._staged = staged
        self._row = row
        self._upload: Upload | None = None
        self._sequential_end = 0  # of what was written from the start on
        self._punching = trio.Lock()

    def resume(self, row: Row) -> None:
        """Go on with the upload that the journal knows."""
        assert row.upload_id is not None
        # The server has had the others since the upload was begun.
        self._upload = self._upload_of(row.key, Metadata(row.write_id, row.mtime_ns))
        self._upload.resume(row.upload_id, row.parts)

    # Sent parts

    @property
    def coming_write_id(self) -> str:
        """The id of the attempt under way, or else of the next."""
        return self._row.next_write_id if self._upload is None else self._row.write_id

    @property
    def sent_bytes(self) -> int:
        """How much of the upload under way is acknowledged, in bytes."""
        return 0 if self._upload is None else self._upload.sent_bytes

    # While more is being written

    def will_change(self, start: int, end: int | None = None) -> None:
        """[start, end) of the file is about to change; `end` None means all the rest."""
        if self._upload is not None:
            self._upload.spoil(start, end)

    def was_written(self, offset: int, length: int) -> bool:
        """Bytes were written; whether the file goes on in sequence from its start."""
        if offset != self._sequential_end:
            return False
        self._sequential_end += length
        return True

    def was_cut(self, size: int) -> None:
        """The file was cut or extended to `size` bytes."""
        self._sequential_end = min(self._sequential_end, size)

    async def send_ahead(
        self, base: ObjectVersion, attributes: Attributes, nursery: Background
    ) -> None:
        """Begin to send the parts of a large new object that were written in sequence."""
        if self._sequential_end <= SINGLE_PUT or self._staged.base_size:
            return
        try:
            upload = self._upload = self._upload or await self._new_upload(base, attributes)
        except (S3Error, FSError) as error:
            log.info("%s is not sent ahead: %s", base.key, error)
        else:
            upload.send_ahead(self._staged, self._sequential_end, nursery)

    async def punch(self) -> bool:
        """Give the disk space of acknowledged parts back; False if there was none.

        The parts are journalled first: after a crash nothing else describes them.
        """
        async with self._punching:
            upload, staged = self._upload, self._staged
            if upload is None or staged.base_size:
                return False
            end = min(self._sequential_end, staged.settled_to)
            ranges = [(start, stop) for start, stop in upload.acknowledged() if stop <= end]
            given_up = staged.give_up(ranges)
            if not given_up.total:
                return False
            try:
                await self._row.parts_sent(
                    upload.upload_id, upload.metadata.write_id, upload.parts(staged.punched)
                )
            except BaseException:
                staged.take_back(given_up)
                raise
            await staged.punch(given_up)
            return True

    async def wait_for_part(self) -> bool:
        """Wait for a part that is under way; False if there is none."""
        if self._upload is None or not self._upload.is_sending:
            return False
        await self._upload.wait_for_part()
        return True

    # The object

    async def publish(self, base: ObjectVersion, attributes: Attributes) -> str:
        """Make the object at `base` what the staged bytes are; returns its ETag.

        Raises S3Error, FSError; PreconditionFailed or NoSuchKey if the base is another by now.
        """
        what = f"storing {base.key}"
        etag = await self._uploads.progress.bound(lambda: self._send(base, attributes), what)
        # A punch under way ends before its bytes may be written again.
        async with self._punching:
            self._upload = None
        return etag

    async def leave(self) -> Upload | None:
        """Leave the upload under way as it is; no bytes are given up for it any more."""
        upload, self._upload = self._upload, None
        # A punch under way ends first: the staged file may be closed next.
        async with self._punching:
            return upload

    async def drop(self) -> None:
        """Give the upload under way up."""
        upload = await self.leave()
        if upload is not None:
            try:
                await upload.abort()
            except (S3Error, FSError) as error:
                log.warning("an unfinished upload of %s stays in the bucket: %s", upload.key, error)

    async def _send(self, base: ObjectVersion, attributes: Attributes) -> str:
        """Send; again over what an attempt taken for failed has made, or with a new upload."""
        for _ in range(_RETRIES):
            try:
                return await self._send_once(base, attributes)
            except (PreconditionFailed, NoSuchKey) as error:
                made = await self._made(base)
                if made is not None and self._upload and self._upload.may_have_made(made):
                    return made.etag
                if isinstance(error, NoSuchKey) and self._upload is not None:
                    await self._start_anew(base)
                elif made is None:
                    raise
                if made is not None:
                    base = ObjectVersion(base.key, made.etag, made.size)
                    self._staged.read_base = reading(self._uploads, self._volume, base)
        return await self._send_once(base, attributes)

    async def _made(self, base: ObjectVersion) -> Head | None:
        """The object of an earlier attempt that was considered failed, if it exists."""
        try:
            head = await self._volume.writer.head(base.key)
        except NoSuchKey:
            return None
        ours = self._row.is_ours(head.metadata.write_id) and head.etag != base.etag
        return head if ours else None

    async def _start_anew(self, base: ObjectVersion) -> None:
        """The upload was cleaned away, or the base is gone, which fails again."""
        if self._staged.punched:
            message = f"the server gave up the upload of {base.key} before it was complete"
            raise FSError(errno.EIO, message)
        await self.drop()

    async def _send_once(self, base: ObjectVersion, attributes: Attributes) -> str:
        staged, writer = self._staged, self._volume.writer
        late = staged.size > 0 and writer.late_deletes.may_come(base.key)
        if staged.punched:
            parts = tuple(send_parts(0, staged.size, 1, last=True))
        else:
            parts = plan(staged.dirty, staged.base_size if base.etag else 0, staged.size)
            if late:  # the DELETE expects the ETag of an object that may have had the same bytes
                parts = in_other_parts(parts)
        if len(parts) == 1 and not staged.punched and not late:
            await self.drop()
            metadata = await self._new_metadata(base, attributes)
            return await put(self._uploads, writer, staged, base, metadata)
        upload = self._upload = self._upload or await self._new_upload(base, attributes)
        return await upload.complete(staged, parts, base)

    async def _new_upload(self, base: ObjectVersion, attributes: Attributes) -> Upload:
        return self._upload_of(base.key, await self._new_metadata(base, attributes))

    def _upload_of(self, key: str, metadata: Metadata) -> Upload:
        writer, begun = self._volume.writer, self._row.upload_begun
        return Upload(self._uploads, writer, key, metadata, begun)

    async def _new_metadata(self, base: ObjectVersion, attributes: Attributes) -> Metadata:
        """The metadata to store with the new bytes; PreconditionFailed if the base has changed."""
        if self._found is None:
            head = await self._volume.writer.describe(base.key)
            if head.etag != base.etag:
                raise PreconditionFailed(f"{base.key} has been replaced by another object")
            self._found = head.metadata.for_new_bytes()
        self.stored = attributes
        return replace(
            self._found,
            write_id=self._row.count_attempt(),
            mtime_ns=attributes.mtime_ns,
            mode=self._found.mode if attributes.mode is None else attributes.mode,
            content_type=self._found.content_type or content_type(base.key),
        )
