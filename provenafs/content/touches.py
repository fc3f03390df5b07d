"""Modification times that were set after an object was stored, brought into it behind.

The object is copied onto itself with new metadata. A short wait lets a rename or another write
make the copy needless; while handles are open it waits too, since the copy may change the ETag.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from provenafs.content.file import File
from provenafs.content.index import Kind
from provenafs.content.journal import Action, Intent, new_intent
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.errors import S3Error
from provenafs.s3.writing import COPY_LIMIT, content_type

if TYPE_CHECKING:
    from provenafs.content.files import Files

log = logging.getLogger(__name__)

_WAIT_S = 5.0
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _Touch:
    volume: Volume
    ino: int


class Touches:
    """The self-copies that are still to be made, one for an inode at most."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._waiting: dict[int, _Touch] = {}
        self._running = False
        self._limiter = trio.CapacityLimiter(_AT_ONCE)

    def add(self, volume: Volume, ino: int) -> None:
        """Bring the modification time the index has into the object, in a moment."""
        self._waiting[ino] = _Touch(volume, ino)
        if not self._running:
            self._running = True
            self._files.nursery.start_soon(self._run)

    def cancel(self, ino: int) -> bool:
        """The object is about to be replaced, renamed or deleted; whether a touch was waiting."""
        return self._waiting.pop(ino, None) is not None

    async def flush(self) -> None:
        """Make all copies now."""
        await self._copy_all()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await trio.sleep(_WAIT_S)
                await self._copy_all()
        finally:
            self._running = False

    async def _copy_all(self) -> None:
        touches = [touch for touch in self._waiting.values() if self._is_free(touch.ino)]
        for touch in touches:
            del self._waiting[touch.ino]
        async with trio.open_nursery() as nursery:
            background = Background(nursery)
            for touch in touches:
                background.start_soon(self._copy, touch)

    def _is_free(self, ino: int) -> bool:
        file = self._files.known(ino)
        return file is None or not (file.uses or file.changed or file.is_owed)

    async def _copy(self, touch: _Touch) -> None:
        entry = self._files.index.get(touch.ino)
        if entry is None or entry.kind is not Kind.OBJECT:
            return
        names, volume = self._files.names, touch.volume
        try:
            async with (
                self._limiter,
                names.use_file(volume, touch.ino),
                self._files.using(volume, entry) as file,
                file.moving,
            ):
                if file.changed or file.is_owed or file.unlinked:
                    self._waiting.setdefault(touch.ino, touch)
                else:
                    await self._copy_object(volume, file)
        except Exception as error:  # what was written meanwhile; also of the credential source
            log.error("%s could not be stored: %s", entry.name, error)
            self._files.failed(entry.ino, error)

    async def _copy_object(self, volume: Volume, file: File) -> None:
        """The file is held: a change begun on the version before would end as a conflict."""
        entry = self._files.index.get(file.ino)
        if entry is None or file.etag is None or entry.mtime is None or entry.size > COPY_LIMIT:
            return
        journal = self._files.journal
        intent = new_intent(
            journal, Action.TOUCH, volume.dataset, file.key, etag=file.etag, mtime=entry.mtime
        )
        try:
            await journal.intend(intent)
            etag = await copy_with_mtime(volume, intent)
        except (S3Error, FSError) as error:
            log.warning("the modification time of %s stays on this machine: %s", file.key, error)
        else:
            await journal.record(file.journal_move(file.key, etag))
            file.move(file.key, file.name, etag)
            if entry.etag == intent.etag and not entry.staged:
                self._files.index.update(file.ino, etag=etag)
        journal.fulfil_later(intent.id)


async def copy_with_mtime(volume: Volume, intent: Intent) -> str:
    """Copy an object onto itself with the intent's modification time; returns the new ETag."""
    await volume.may_write()
    writer = volume.writer
    head = await writer.head(intent.key)
    assert intent.etag is not None
    metadata = replace(
        head.metadata,
        write_id=intent.id,
        mtime=intent.mtime,
        content_type=head.metadata.content_type or content_type(intent.key),
    )
    return await writer.copy(
        intent.key, intent.etag, intent.key, intent.etag, size=head.size, metadata=metadata
    )
