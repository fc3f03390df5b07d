"""Uploads staged bytes: in one PUT, or in parallel parts that start while the file is written."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from provenafs.content.journal_schema import JournalPart
from provenafs.content.object_version import ObjectVersion
from provenafs.content.staging.ranges import Ranges
from provenafs.content.staging.staged_bytes import StagedBytes
from provenafs.content.writing.upload_plan import Part, PartOrigin, part_range
from provenafs.guard import Background
from provenafs.lib.lanes import Lanes
from provenafs.lib.parallel import run_all
from provenafs.lib.progress import ByteSemaphore, Progress, Reserve
from provenafs.s3.api import WriterApi
from provenafs.s3.metadata import Head, Metadata
from provenafs.s3.types import UploadedPart

log = logging.getLogger(__name__)

_BODIES_IN_MEMORY = 40 * 1024 * 1024  # bytes, over all files of a mount
_COPIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Sent:
    """An acknowledged part and the range of the file it holds."""

    start: int
    end: int
    part: UploadedPart


@dataclass(slots=True)
class _Sending:
    """A part on its way; `spoilt` when its range has changed since."""

    start: int
    end: int
    done: trio.Event
    spoilt: bool = False


class UploadContext:
    """State shared by the uploads of a mount."""

    def __init__(self, progress: Progress, lanes: Lanes, spare: Reserve) -> None:
        """`spare` is memory that bodies may take where nobody reads ahead into it."""
        self.progress = progress
        self.lanes = lanes
        self.memory = ByteSemaphore(_BODIES_IN_MEMORY, spare)


class Upload:
    """One multipart upload of one file.

    Parts may be sent before the file is complete. A change to what was sent makes that part count
    as not sent; it is sent again, under its number, when the object is made.
    """

    def __init__(
        self,
        uploads: UploadContext,
        writer: WriterApi,
        key: str,
        metadata: Metadata,
        begun: Callable[[str], Awaitable[None]],
    ) -> None:
        """`begun` is called with the upload's id before the first part is sent."""
        self.key = key
        self.metadata = metadata
        self.upload_id: str | None = None
        self._next_number = 1  # the first part that was not yet sent ahead
        self._may_be_complete = False  # with the parts as they are
        self._uploads = uploads
        self._writer = writer
        self._begun = begun
        self._lock = trio.Lock()
        self._sent: dict[int, _Sent] = {}
        self._sending: dict[int, _Sending] = {}
        self._copies_at_once = trio.CapacityLimiter(_COPIES_AT_ONCE)

    @property
    def is_sending(self) -> bool:
        """Whether any part is on its way."""
        return bool(self._sending)

    @property
    def sent_bytes(self) -> int:
        """How many bytes are acknowledged."""
        return sum(sent.end - sent.start for sent in self._sent.values())

    def acknowledged(self) -> list[tuple[int, int]]:
        """The ranges that the server has."""
        return [(sent.start, sent.end) for sent in self._sent.values()]

    def parts(self, within: Ranges) -> tuple[JournalPart, ...]:
        """The acknowledged parts of these ranges, for the journal."""
        return tuple(
            (number, sent.start, sent.end, sent.part.etag, sent.part.crc32)
            for number, sent in self._sent.items()
            if within.covers(sent.start, sent.end)
        )

    def may_have_made(self, head: Head) -> bool:
        """Whether an object consists of the parts: completed, although the response was lost."""
        return self._may_be_complete and head.metadata.write_id == self.metadata.write_id

    def resume(self, upload_id: str, parts: tuple[JournalPart, ...]) -> None:
        """Go on with what the journal knows of an upload."""
        self.upload_id = upload_id
        for number, start, end, etag, crc32 in parts:
            self._sent[number] = _Sent(start, end, UploadedPart(number, etag, crc32))

    def spoil(self, start: int, end: int | None = None) -> None:
        """[start, end) of the file is about to change; `end` None means all the rest."""
        self._may_be_complete = False
        for number, sent in list(self._sent.items()):
            if start < sent.end and (end is None or sent.start < end):
                del self._sent[number]
        for sending in self._sending.values():
            if start < sending.end and (end is None or sending.start < end):
                sending.spoilt = True

    def send_ahead(self, staged: StagedBytes, end: int, nursery: Background) -> None:
        """Begin to send the parts before `end` while the file is still being written."""
        while True:
            number = self._next_number
            start, stop = part_range(number)
            if stop > end:
                return
            sending = self._sending[number] = _Sending(start, stop, trio.Event())
            nursery.start_soon(self._send_ahead, staged, number, sending)
            self._next_number += 1

    async def _send_ahead(self, staged: StagedBytes, number: int, sending: _Sending) -> None:
        """Send a part; a failure leaves it to be sent again."""
        try:
            part = await self._send(staged, number, sending.start, sending.end)
            if not sending.spoilt:
                self._sent[number] = _Sent(sending.start, sending.end, part)
        except Exception as error:  # also of the credential source
            log.info("part %d of %s will be sent again: %s", number, self.key, error)
        finally:
            del self._sending[number]
            sending.done.set()

    async def wait_for_part(self) -> None:
        """Wait until one of the parts under way has arrived or failed."""
        for sending in list(self._sending.values()):
            await sending.done.wait()
            return

    async def complete(
        self, staged: StagedBytes, plan: tuple[Part, ...], base: ObjectVersion
    ) -> str:
        """Send what is missing and make the object; returns its ETag. Raises S3Error, FSError."""
        while self._sending:
            # A late copy of an old part must not arrive after the new one.
            await self.wait_for_part()
        numbered = dict(enumerate(plan, start=1))
        await run_all(
            partial(self._provide, staged, number, part, base)
            for number, part in numbered.items()
            if not self._has(number, part)
        )
        parts = [self._sent[number].part for number in numbered]
        upload_id = await self._id()
        self._may_be_complete = True
        return await self._writer.complete(self.key, upload_id, parts, base.etag, self.metadata)

    async def abort(self) -> None:
        """Give up: the server forgets the parts."""
        while self._sending:
            await self.wait_for_part()
        if self.upload_id is not None:
            await self._writer.abort(self.key, self.upload_id)

    def _has(self, number: int, part: Part) -> bool:
        sent = self._sent.get(number)
        return sent is not None and (sent.start, sent.end) == (part.start, part.end)

    async def _provide(
        self, staged: StagedBytes, number: int, part: Part, base: ObjectVersion
    ) -> None:
        if part.source is PartOrigin.SEND:
            sent = await self._send(staged, number, part.start, part.end)
            self._sent[number] = _Sent(part.start, part.end, sent)
            return
        assert base.etag is not None
        upload_id = await self._id()
        async with self._copies_at_once:
            copied = await self._writer.copy_part(
                self.key, upload_id, number, base.key, base.etag, part.start, part.end
            )
        self._uploads.progress.made()
        self._sent[number] = _Sent(part.start, part.end, copied)

    async def _send(self, staged: StagedBytes, number: int, start: int, end: int) -> UploadedPart:
        upload_id = await self._id()
        async with (
            self._uploads.memory.hold(end - start),
            self._uploads.lanes.transfer(end - start),
        ):
            body = await staged.read(start, end - start)
            part = await self._writer.upload_part(
                self.key, upload_id, number, body, lambda _: self._uploads.progress.made()
            )
        self._uploads.progress.made()
        return part

    async def _id(self) -> str:
        async with self._lock:
            if self.upload_id is None:
                upload_id = await self._writer.create_upload(self.key, self.metadata)
                await self._begun(upload_id)
                self.upload_id = upload_id
            return self.upload_id


async def put(
    uploads: UploadContext,
    writer: WriterApi,
    staged: StagedBytes,
    base: ObjectVersion,
    metadata: Metadata,
) -> str:
    """Send all of a small file in one request; returns the new ETag. Raises S3Error, FSError."""
    async with uploads.memory.hold(staged.size):
        body = await staged.read(0, staged.size)
        etag = await writer.put(
            base.key, body, base.etag, metadata, lambda _: uploads.progress.made()
        )
    uploads.progress.made()
    return etag
