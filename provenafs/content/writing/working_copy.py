"""The working copy of a changed file, from the first change to the last release.

Three things that belong together, each with one owner: the staged bytes on the disk, their row in
the journal (`journal_row`), and what publishes them (`publisher`). The row comes first and goes
last.
"""

from __future__ import annotations

import errno
import logging

from provenafs.content.journal_schema import Row, State
from provenafs.content.object_version import ObjectVersion
from provenafs.content.staging.staged_bytes import ReadBase, StagedBytes
from provenafs.content.volume import Volume
from provenafs.content.writing.attributes import Attributes
from provenafs.content.writing.journal_row import JournalRow
from provenafs.content.writing.publisher import Publisher
from provenafs.content.writing.services import FileServices
from provenafs.errors import FSError

log = logging.getLogger(__name__)


class WorkingCopy:
    """Staged bytes, their journal row and their publisher. Changed by one task at a time."""

    def __init__(
        self, services: FileServices, volume: Volume, staged: StagedBytes, row: JournalRow,
        *, is_new: bool,
    ) -> None:  # fmt: skip
        """`is_new`: as in Publisher."""
        self.staged = staged
        self.row = row
        self.publisher = Publisher(services.uploads, volume, staged, row, is_new=is_new)
        self._nursery = services.nursery

    @classmethod
    async def stage(
        cls,
        services: FileServices,
        volume: Volume,
        row: Row,
        read_base: ReadBase | None,
        *,
        is_owed: bool,
    ) -> WorkingCopy:
        """Begin to change a file: its row is on disk before its staging file is made.

        Where nothing `is_owed`, the file has no name any more: it has no row, nor is its staging
        file found after a crash.
        """
        journalled = JournalRow(services.journal, row)
        if is_owed:
            await journalled.add(row)
        try:
            staged = await services.area.create(row.id, row.base_size, read_base)
        except BaseException:
            services.area.discard(row.id)
            journalled.remove_later()
            raise
        if not is_owed:
            services.area.discard(row.id)
        return cls(services, volume, staged, journalled, is_new=_is_new(row))

    @classmethod
    async def recover(
        cls, services: FileServices, volume: Volume, row: Row, read_base: ReadBase | None
    ) -> WorkingCopy:
        """The working copy an earlier mount left under this row. FSError if its bytes are gone."""
        punched = [(start, end) for _, start, end, _, _ in row.parts]
        staged = await services.area.recover(row.id, row.base_size, read_base, punched)
        if row.state is State.CLOSED and staged.size > row.size:
            await staged.truncate(row.size)  # a write that failed has left more
        copy = cls(services, volume, staged, JournalRow(services.journal, row), is_new=_is_new(row))
        if row.parts:
            copy.publisher.resume(row)
        return copy

    # Changes

    async def write(self, offset: int, data: bytes) -> bool:
        """Write `data`; whether the file goes on in sequence from its start. As StagedBytes."""
        end = offset + len(data)
        self.staged.refuse_punched(offset, end)
        self.publisher.will_change(offset, end)
        await self.staged.write(offset, data)
        return self.publisher.was_written(offset, len(data))

    async def truncate(self, size: int) -> None:
        """Cut or extend to `size` bytes. As StagedBytes."""
        self.staged.refuse_punched(size - 1, size + 1)
        self.publisher.will_change(size)
        await self.staged.truncate(size)
        self.publisher.was_cut(size)

    async def send_ahead(self, base: ObjectVersion, given: Attributes) -> None:
        """Send what was written in sequence of a large new file, while more is written."""
        await self.publisher.send_ahead(base, given, self._nursery)

    async def reopen(self, base: ObjectVersion) -> None:
        """Begin to change what was stored as `base`."""
        await self.staged.restart_log()
        await self.row.reopen(base)

    # Closing

    async def acknowledge(self, key: str, given: Attributes) -> None:
        """Return once all that is promised to be stored at `key` would survive a power cut."""
        await self.staged.sync()
        write_id = self.publisher.coming_write_id
        await self.row.acknowledge(key, self.staged.size, given, write_id)

    async def fail(self, key: str, given: Attributes, reason: str) -> None:
        """Keep what could not be stored at `key`, for recovery."""
        await self.staged.sync()
        await self.row.fail(key, self.staged.size, given, reason)

    def stored(self, version: ObjectVersion, read_base: ReadBase | None) -> None:
        """The object has all bytes."""
        self.staged.rebase(read_base)
        self.row.stored(version)

    # The end

    async def restart_upload(self) -> None:
        """Forget the parts that are sent. EBUSY when they are the only copy."""
        if self.staged.punched:
            message = "the file is larger than the staging area and still being uploaded"
            raise FSError(errno.EBUSY, message)
        await self.end_upload()

    async def end_upload(self, *, keeps_parts: bool = False) -> None:
        """Nothing is sent any more; `keeps_parts`: what the server alone has may be needed."""
        if keeps_parts and self.staged.punched:
            await self.publisher.leave()
        else:
            await self.publisher.drop()

    async def discard(self) -> None:
        """Delete the bytes, then their row, once the upload has ended."""
        await self.staged.discard()
        self.row.remove_later()

    async def leave(self, key: str, *, is_complete: bool) -> None:
        """Keep the bytes for `provenafs recover`. Once the upload has ended.

        `is_complete`: a program has closed the file. FSError where the journal cannot be written.
        """
        log.warning("%s is not stored: its bytes are kept, see 'provenafs recover'", key)
        try:
            await self.staged.leave()
        except FSError as error:
            log.error("the last bytes written to %s are lost: %s", key, error)
            is_complete = False
        await self.row.leave(is_complete=is_complete)


def _is_new(row: Row) -> bool:
    """Whether the file has no object of its own, whatever it replaces."""
    return row.base_etag is None or row.replaces
