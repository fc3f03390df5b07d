"""How staged bytes become an object: in one request, or in the parts of an upload."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass, replace

import trio

from provenafs.content.journal import Journal
from provenafs.content.journal_rows import Row
from provenafs.content.staging.staged_bytes import ReadBase, StagedBytes
from provenafs.content.volume import Volume
from provenafs.content.writing.multipart import BaseVersion, Upload, UploadContext, put
from provenafs.content.writing.upload_plan import in_other_parts, plan, send_parts
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error
from provenafs.s3.metadata import Head, Metadata, content_type

log = logging.getLogger(__name__)

_NOTHING = Metadata("", content_type="")
_RETRIES = 2  # of an attempt that was carried out though it seemed to fail


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a user gives a file: mtime in nanoseconds since the epoch, permission bits.

    None is what the object has, or would have.
    """

    mtime_ns: int | None = None
    mode: int | None = None


class Publisher:
    """Publishes the bytes of one file, each time it changed.

    Every attempt has an id that the object carries, so that our own success after a lost answer is
    told from a conflict. What others have stored beside the bytes of the object goes with it.
    """

    def __init__(
        self, uploads: UploadContext, volume: Volume, journal: Journal, *, is_new: bool
    ) -> None:
        """`is_new`: there is no object yet whose metadata would have to be kept."""
        self.row = ""  # of the journal
        self.stored = Attributes()  # that the object carries, by what was sent
        self._found: Metadata | None = _NOTHING if is_new else None  # on the object
        self._uploads = uploads
        self._volume = volume
        self._journal = journal
        self._attempts = 0
        self._upload: Upload | None = None
        self._punching = trio.Lock()

    def recover(self, row: Row) -> None:
        """Go on counting where the journal ends."""
        self.row = row.id
        self._attempts = int(row.write_id.rpartition("-")[2]) if "-" in row.write_id else 0

    def resume(self, row: Row) -> None:
        """Go on with the upload that the journal knows."""
        assert row.upload_id is not None
        # The server has had the others since the upload was begun.
        self._upload = self._upload_of(row.key, Metadata(row.write_id, row.mtime_ns))
        self._upload.resume(row.upload_id, row.parts)

    def forget_metadata(self) -> None:
        """The file is a new one, whatever object it replaces."""
        self._found = _NOTHING

    def reader(self, key: str, etag: str | None, size: int) -> ReadBase | None:
        """Reads of an object version, for bytes that were not written here."""
        bucket = self._volume.drive.bucket
        if etag is None:
            return None

        async def read(offset: int, length: int) -> memoryview:
            try:
                end = min(offset + length, size)
                return await bucket.read_range(key, offset, end - offset, etag, size=size)
            except (PreconditionFailed, NoSuchKey):
                raise FSError(errno.ESTALE, f"{key} was changed by another client") from None
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
    def sent_bytes(self) -> int:
        """How much of the upload under way is acknowledged, in bytes."""
        return 0 if self._upload is None else self._upload.sent_bytes

    # While more is being written

    async def send_ahead(
        self,
        staged: StagedBytes,
        base: BaseVersion,
        attributes: Attributes,
        end: int,
        nursery: Background,
    ) -> None:
        """Begin to send the parts of a new object that lie before `end`."""
        try:
            upload = self._upload = self._upload or await self._new_upload(base, attributes)
        except (S3Error, FSError) as error:
            log.info("%s is not sent ahead: %s", base.key, error)
        else:
            upload.send_ahead(staged, end, nursery)

    def spoil(self, start: int, end: int | None = None) -> None:
        """[start, end) of the file is about to change; `end` None means all the rest."""
        if self._upload is not None:
            self._upload.spoil(start, end)

    async def punch(self, staged: StagedBytes, end: int) -> bool:
        """Give the disk space of acknowledged parts before `end` back; False if there was none.

        The parts are journalled before: after a crash nothing else tells what they hold.
        """
        async with self._punching:
            upload = self._upload
            if upload is None or staged.base_size:
                return False
            end = min(end, staged.settled_to)
            ranges = [(start, stop) for start, stop in upload.acknowledged() if stop <= end]
            given_up = staged.give_up(ranges)
            if not given_up.total:
                return False
            try:
                await self._journal.update(
                    self.row,
                    upload_id=upload.upload_id,
                    write_id=upload.metadata.write_id,
                    parts=upload.parts(staged.punched),
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

    async def publish(self, staged: StagedBytes, base: BaseVersion, attributes: Attributes) -> str:
        """Make the object at `base` what the staged bytes are; returns its ETag.

        Raises S3Error, FSError; PreconditionFailed or NoSuchKey if the base is another by now.
        """
        what = f"storing {base.key}"
        etag = await self._uploads.progress.bound(
            lambda: self._send(staged, base, attributes), what
        )
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

    async def _send(self, staged: StagedBytes, base: BaseVersion, attributes: Attributes) -> str:
        """Send; again over what an attempt taken for failed has made, or with a new upload."""
        for _ in range(_RETRIES):
            try:
                return await self._send_once(staged, base, attributes)
            except (PreconditionFailed, NoSuchKey) as error:
                made = await self._made(base)
                if made is not None and self._upload and self._upload.may_have_made(made):
                    return made.etag
                if isinstance(error, NoSuchKey) and self._upload is not None:
                    await self._start_anew(staged, base)
                elif made is None:
                    raise
                if made is not None:
                    staged.read_base = self.reader(base.key, made.etag, made.size)
                    base = BaseVersion(base.key, made.etag)
        return await self._send_once(staged, base, attributes)

    async def _made(self, base: BaseVersion) -> Head | None:
        """What an earlier attempt made that was taken for failed, if that is the object."""
        try:
            head = await self._volume.writer.head(base.key)
        except NoSuchKey:
            return None
        ours = head.metadata.write_id.startswith(f"{self.row}-") and head.etag != base.etag
        return head if ours else None

    async def _start_anew(self, staged: StagedBytes, base: BaseVersion) -> None:
        """The upload was cleaned away, or the base is gone, which fails again."""
        if staged.punched:
            message = f"the server gave up the upload of {base.key} before it was complete"
            raise FSError(errno.EIO, message)
        await self.drop()

    async def _send_once(
        self, staged: StagedBytes, base: BaseVersion, attributes: Attributes
    ) -> str:
        late = staged.size > 0 and self._volume.writer.late_deletes.may_come(base.key)
        if staged.punched:
            parts = tuple(send_parts(0, staged.size, 1, last=True))
        else:
            parts = plan(staged.dirty, staged.base_size if base.etag else 0, staged.size)
            if late:  # the DELETE expects the ETag of an object that may have had the same bytes
                parts = in_other_parts(parts)
        if len(parts) == 1 and not staged.punched and not late:
            await self.drop()
            metadata = await self._new_metadata(base, attributes)
            return await put(self._uploads, self._volume.writer, staged, base, metadata)
        upload = self._upload = self._upload or await self._new_upload(base, attributes)
        return await upload.complete(staged, parts, base)

    async def _new_upload(self, base: BaseVersion, attributes: Attributes) -> Upload:
        return self._upload_of(base.key, await self._new_metadata(base, attributes))

    def _upload_of(self, key: str, metadata: Metadata) -> Upload:
        async def begun(upload_id: str) -> None:
            await self._journal.update(self.row, upload_id=upload_id)

        return Upload(self._uploads, self._volume.writer, key, metadata, begun)

    async def _new_metadata(self, base: BaseVersion, attributes: Attributes) -> Metadata:
        """What is to be stored beside the new bytes; PreconditionFailed if the base is another."""
        if self._found is None:
            head = await self._volume.writer.describe(base.key)
            if head.etag != base.etag:
                raise PreconditionFailed(f"{base.key} has been replaced by another object")
            self._found = head.metadata.for_new_bytes()
        self._attempts += 1
        self.stored = attributes
        return replace(
            self._found,
            write_id=self.write_id,
            mtime_ns=attributes.mtime_ns,
            mode=self._found.mode if attributes.mode is None else attributes.mode,
            content_type=self._found.content_type or content_type(base.key),
        )
