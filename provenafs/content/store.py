"""The façade of a mount's content: open, sync, drain, report."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from provenafs.content.claims import Claims
from provenafs.content.content import Content
from provenafs.content.journal import Journal
from provenafs.content.listing.index import Index
from provenafs.content.naming.attribute_updates import AttributeUpdates
from provenafs.content.naming.deferred_deletes import DeferredDeletes
from provenafs.content.naming.namespace import Namespace
from provenafs.content.naming.services import NamingServices
from provenafs.content.staging.staged_bytes import StagingArea
from provenafs.content.volume import Volume
from provenafs.content.writing.file import File
from provenafs.content.writing.following import Following
from provenafs.content.writing.multipart import UploadContext
from provenafs.content.writing.open_files import OpenFiles
from provenafs.content.writing.services import FileServices
from provenafs.guard import Background
from provenafs.lib.progress import Progress

log = logging.getLogger(__name__)

_JOURNAL_FLUSH_S = 2.0


@dataclass(frozen=True, slots=True)
class PendingTransfer:
    """A file that is not wholly stored: sizes in bytes."""

    dataset: str
    key: str
    size: int
    sent: int
    state: str


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a mount writes; `staging_size` in bytes.

    `writeback`: a close is acknowledged once the bytes are on the local disk. `rename_limit`: how
    many objects a renamed directory may hold.
    """

    state_dir: Path
    staging_size: int
    writeback: bool
    rename_limit: int


class Store:
    """The datasets of one mount, to be read and changed. `open_store` makes it."""

    def __init__(
        self,
        content: Content,
        journal: Journal,
        nursery: Background,
        options: StoreOptions,
        failed: Callable[[int, Exception], None],
    ) -> None:
        self.content = content
        self.nursery = nursery
        self.journal = journal
        self.area = StagingArea(
            options.state_dir, options.staging_size, content.s3.buffers, nursery
        )
        self.uploads = UploadContext(
            Progress(content.s3.io_timeout), content.s3.upload_lanes, content.memory
        )
        self.claims = Claims(content.index, self.uploads.progress)
        self.deferred_deletes = DeferredDeletes(
            journal, nursery, content.hidden, failed, content.s3.io_timeout
        )
        self.files = OpenFiles(
            content,
            FileServices(
                content.index, journal, self.area, self.uploads, nursery, options.writeback
            ),
            failed=failed,
            name_freed=self.deferred_deletes.released,
            attributes_set=self._touch,
        )
        self.attribute_updates = AttributeUpdates(self.files, self.claims, failed)
        self.changes = Namespace(self._naming_services(), options.rename_limit)
        content.follow = Following(self.files, self.attribute_updates.cancel).listed
        self.area.reclaim = self.files.reclaim
        nursery.start_soon(self._keep_journal)

    def _naming_services(self) -> NamingServices:
        return NamingServices(
            self.content,
            self.files,
            self.claims,
            self.journal,
            self.deferred_deletes,
            self.attribute_updates,
            self.uploads.progress,
        )

    @property
    def index(self) -> Index:
        """The entries and their inode numbers."""
        return self.content.index

    def _touch(self, file: File) -> None:
        """Let the object carry the attributes that were set after it was stored."""
        self.attribute_updates.add(file.volume, file.ino)

    async def sync(self, volume: Volume | None = None) -> None:
        """Return once everything is stored that was written so far; raises the first failure.

        Scratch files stay. `volume` None means all datasets.
        """
        failures = await self.files.store_all(volume)
        try:
            await self.deferred_deletes.sync(volume)
        except Exception as error:
            failures.append(error)
        await self.attribute_updates.flush()
        await self.journal.flush()
        if failures:
            raise failures[0]

    async def drain(self) -> None:
        """Before unmounting: wait until all uploads and deletions are done."""
        await self.files.drained()
        await self.attribute_updates.flush()
        await self.deferred_deletes.flush()

    def transfers(self) -> list[PendingTransfer]:
        """Pending uploads and deletions, for display."""
        stored = [
            PendingTransfer(
                file.volume.dataset,
                file.key,
                file.size,
                file.sent_bytes,
                file.state.journalled.value,
            )
            for file in self.files.unstored()
        ]
        deleted = [
            PendingTransfer(intent.dataset, intent.key, 0, 0, intent.action.value)
            for intent in self.deferred_deletes.owed()
        ]
        return stored + deleted

    async def _keep_journal(self) -> None:
        """Flush the journal's deferred changes at intervals."""
        while True:
            await trio.sleep(_JOURNAL_FLUSH_S)
            try:
                await self.journal.flush()
            except Exception as error:  # the next time may do
                log.warning("%s", error)


@asynccontextmanager
async def open_store(
    content: Content, options: StoreOptions, failed: Callable[[int, Exception], None]
) -> AsyncIterator[Store]:
    """The store of a mount. What is not stored at the end stays in the journal for the next one.

    `failed` is called with the inode and error of failures that no close can report.
    """
    journal = Journal(options.state_dir)
    try:
        async with trio.open_nursery() as nursery:
            content.index.unstage_all()
            yield Store(content, journal, Background(nursery), options, failed)
            nursery.cancel_scope.cancel()
    finally:
        await journal.close()
