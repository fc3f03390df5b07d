"""Stores attributes that were set after their object, in the background.

The object is copied onto itself with new metadata. A short wait lets a rename or another write
make the copy needless; while handles are open it waits too, since the copy may change the ETag.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from provenafs.content.claims import Claims
from provenafs.content.journal import new_intent
from provenafs.content.journal_schema import Action, Intent, Move
from provenafs.content.listing.index import Entry, Kind
from provenafs.content.volume import Volume
from provenafs.content.writing.attributes import Attributes
from provenafs.content.writing.file import File
from provenafs.content.writing.name_changes import NameChanges
from provenafs.content.writing.open_files import OpenFiles
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.errors import S3Error
from provenafs.s3.metadata import content_type
from provenafs.s3.types import COPY_LIMIT

log = logging.getLogger(__name__)

_WAIT_S = 5.0
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _Touch:
    volume: Volume
    ino: int


class AttributeUpdates:
    """The self-copies that are still to be made, one for an inode at most."""

    def __init__(
        self, files: OpenFiles, names: Claims, failed: Callable[[int, Exception], None]
    ) -> None:
        """`failed` is called with the inode and the error of each failure."""
        self._files = files
        self._index, self._journal = files.index, files.services.journal
        self._names = names
        self._failed = failed
        self._waiting: dict[int, _Touch] = {}
        self._running = False
        self._limiter = trio.CapacityLimiter(_AT_ONCE)

    def add(self, volume: Volume, ino: int) -> None:
        """Bring the attributes that the index has into the object, in a moment."""
        self._waiting[ino] = _Touch(volume, ino)
        if not self._running:
            self._running = True
            self._files.services.nursery.start_soon(self._run)

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
        return file is None or not (file.uses or file.is_unstored)

    async def _copy(self, touch: _Touch) -> None:
        entry = self._index.get(touch.ino)
        if entry is None or entry.kind is not Kind.OBJECT:
            return
        names, volume = self._names, touch.volume
        try:
            async with (
                self._limiter,
                names.use_file(volume, touch.ino),
                self._files.using(volume, entry) as file,
                file.name_lock,
            ):
                if file.is_unstored or file.unlinked:
                    self._waiting.setdefault(touch.ino, touch)
                else:
                    await self._copy_object(volume, file)
        except Exception as error:  # what was written meanwhile; also of the credential source
            log.error("attributes of %s are not stored: %s", volume.drive.key(entry), error)
            self._failed(entry.ino, error)

    async def _copy_object(self, volume: Volume, file: File) -> None:
        """The file is held: a change begun on the version before would end as a conflict."""
        entry = self._index.get(file.ino)
        if entry is None or file.etag is None or entry.size > COPY_LIMIT:
            return
        journal = self._journal
        intent = replace(
            new_intent(journal, Action.TOUCH, volume.dataset, file.key),
            etag=file.etag,
            mtime_ns=entry.mtime_ns,
            mode=entry.mode,
        )
        try:
            await journal.record_intent(intent)
            etag = await copy_with_attributes(volume, intent)
        except (S3Error, FSError) as error:
            log.warning("the attributes of %s stay on this machine: %s", file.key, error)
        else:
            copy = replace(file.version, etag=etag)
            await NameChanges().move(file, copy, file.name).make(journal)
            self._note_copy(entry, intent, etag)
        journal.complete_intent_later(intent.id)

    def _note_copy(self, before: Entry, intent: Intent, etag: str) -> None:
        """A LIST may have shown the copy meanwhile, and taken it for another client's."""
        now = self._index.get(before.ino)
        if now is None or now.staged or now.etag != intent.etag:
            return
        self._index.update(
            before.ino,
            etag=etag,
            modified_ns=0,
            mtime_ns=before.shown_mtime_ns if now.mtime_ns is None else now.mtime_ns,
            ctime_ns=before.shown_ctime_ns if now.ctime_ns is None else now.ctime_ns,
            mode=before.mode if now.mode is None else now.mode,
        )


async def copy_with_attributes(volume: Volume, intent: Intent) -> str:
    """Copy an object onto itself with the intent's attributes; returns the new ETag."""
    await volume.may_write()
    assert intent.etag is not None
    onto_itself = Move(intent.key, intent.etag, 0, None, intent.key, intent.etag)
    given = Attributes(intent.mtime_ns, intent.mode)
    return await copy_object(volume, onto_itself, intent.id, given)


async def copy_object(volume: Volume, move: Move, write_id: str, attributes: Attributes) -> str:
    """Copy an object with other attributes, and all else that is stored with it; the new ETag.

    Its size is asked for: that of the move does not count.
    """
    head = await volume.writer.describe(move.key)
    found = head.metadata
    known_ns = head.modified_ns if found.mtime_ns is None else found.mtime_ns
    # A type that only the name suggested, such as that of rsync's temporary files.
    is_suggested = found.content_type == content_type(move.key)
    metadata = replace(
        found,
        content_type=content_type(move.target) if is_suggested else found.content_type,
        write_id=write_id,
        mtime_ns=known_ns if attributes.mtime_ns is None else attributes.mtime_ns,
        mode=found.mode if attributes.mode is None else attributes.mode,
    )
    return await volume.writer.copy(
        move.key, move.etag, move.target, move.replaced, size=head.size, metadata=metadata
    )
