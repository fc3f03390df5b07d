"""Renames across bucket, journal, index and open files, in an order that loses nothing.

1. The intent is journalled with all it is made of.
2. Every object is copied. A failure takes the copies back, and nothing has changed.
3. The journal's rows of staged files go to their new keys, in one transaction; then the index and
   the open files.
4. Every original is deleted. What S3 does not answer is deleted later; where it refuses the first,
   all of this is undone.

The names are claimed and the files below held meanwhile, so that nothing is made, written or
removed there. After a crash the next mount goes on with the intent.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

from provenafs.content.claims import Place
from provenafs.content.journal import new_intent
from provenafs.content.journal_schema import Action, Intent, Move
from provenafs.content.listing.index import Entry, Invalidation, Kind
from provenafs.content.naming.moves import Removals, copy_all, move_below, objects_below, take_back
from provenafs.content.naming.services import NamingServices
from provenafs.content.object_version import ObjectVersion
from provenafs.content.volume import check_length, is_scratch
from provenafs.content.writing.file import File
from provenafs.content.writing.keeping import being_replaced
from provenafs.content.writing.name_changes import NameChanges, lock_all, row_ids
from provenafs.errors import FSError
from provenafs.s3.errors import AccessDenied, NoSuchKey, PreconditionFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rename:
    """A rename from one place to another; `held` are the locked files, `replaced` the target's."""

    entry: Entry
    source: Place
    target: Place
    intent: Intent
    moves: tuple[Move, ...]
    held: Sequence[File]
    replaced: File | None = None


class Renames:
    """Carries renames out whose places are claimed."""

    def __init__(self, services: NamingServices, limit: int) -> None:
        """`limit`: how many objects a renamed directory may hold."""
        self._services = services
        self._files = services.files
        self._index = services.content.index
        self._limit = limit

    # A file

    async def file(self, entry: Entry, source: Place, target: Place, found: Entry | None) -> bool:
        """Rename a file onto `found`, if there is one; whether the bucket has lost a key by it."""
        volume = source.volume
        async with AsyncExitStack() as uses:
            file = await uses.enter_async_context(self._files.using(volume, entry))
            replaced = None
            if found is not None:
                replaced = await uses.enter_async_context(self._files.using(volume, found))
            # Only with the locks is it sure that no publication to the old key is under way.
            async with AsyncExitStack() as moving:
                await lock_all(moving, filter(None, (file, replaced)))
                unpublished = file.etag is None
                if unpublished:
                    await self._unpublished(file, entry, target, replaced)
            if not unpublished:
                await self._object(file, entry, source, target, replaced)
        return not unpublished

    async def _unpublished(
        self, file: File, entry: Entry, target: Place, replaced: File | None
    ) -> None:
        """Only the name changes here; over another object it takes that one's place."""
        await file.restart_upload()
        async with self._replacing(replaced):
            version, changes = ObjectVersion(target.key, None), NameChanges()
            if replaced is not None:
                if is_scratch(target.name) and replaced.etag is not None:
                    await target.volume.writer.delete(replaced.key, replaced.etag)
                    replaced.version = replace(replaced.version, etag=None)
                version = replace(replaced.version, key=target.key)
                changes.unlink(replaced)
            changes.move(file, version, target.name, replaces=True)
            await changes.make(self._services.journal)
            if replaced is not None:
                self._index.remove(replaced.ino)
            self._index.move(entry.ino, target.directory.ino, target.name)

    @asynccontextmanager
    async def _replacing(self, replaced: File | None) -> AsyncIterator[None]:
        """While the object of a file, if any, is replaced: what open handles need is kept."""
        if replaced is None:
            yield
            return
        await replaced.give_up_upload()
        async with (
            self._files.going(replaced.ino),
            being_replaced(replaced, self._services.content.s3.io_timeout),
        ):
            yield

    async def _object(
        self, file: File, entry: Entry, source: Place, target: Place, replaced: File | None
    ) -> None:
        if file.is_unstored:
            await file.store_now()
        async with AsyncExitStack() as moving:
            await lock_all(moving, filter(None, (file, replaced)))
            await moving.enter_async_context(self._replacing(replaced))
            assert file.etag is not None
            expected = None if replaced is None else replaced.etag
            current = self._index.get(entry.ino) or entry
            move = Move(
                file.key, file.etag, file.size, None, target.key, expected, current.storage_class
            )
            # Attributes that were set and that the object does not have yet go with it.
            is_touched = self._services.attribute_updates.cancel(entry.ino)
            intent = replace(
                self._intent(source, target),
                mtime_ns=current.mtime_ns if is_touched else None,
                mode=current.mode if is_touched else None,
                moves=(move,),
                rows=row_ids([file]),
                replaced=row_ids([replaced]),
            )
            try:
                await self._carry_out(
                    _Rename(entry, source, target, intent, (move,), [file], replaced)
                )
            except BaseException:
                if is_touched:
                    self._services.attribute_updates.add(source.volume, entry.ino)
                raise

    # A directory

    async def directory(self, entry: Entry, source: Place, target: Place) -> None:
        """Rename a directory onto nothing, or onto an empty one.

        EXDEV above the limit, EINVAL into itself, ENAMETOOLONG for something below, ESTALE on a
        conflict.
        """
        volume, prefix, new_prefix = source.volume, f"{source.key}/", f"{target.key}/"
        if new_prefix.startswith(prefix):
            raise FSError(errno.EINVAL)
        for below in (prefix, new_prefix):
            await self._services.deferred_deletes.wait_for_deletes_below(below)
        async with AsyncExitStack() as moving:
            held = [file for file in self._files.below(prefix, volume) if not file.unlinked]
            await lock_all(moving, held)
            for file in held:
                check_length(new_prefix + file.key[len(prefix) :])
            moves = await self._moves(source, target)
            for file in held:
                await file.restart_upload()
            intent = replace(
                self._intent(source, target),
                key=prefix,
                target=new_prefix,
                moves=moves,
                rows=row_ids(held),
            )
            await self._carry_out(_Rename(entry, source, target, intent, moves, held))

    async def _moves(self, source: Place, target: Place) -> tuple[Move, ...]:
        moves: list[Move] = []
        prefix, new_prefix = f"{source.key}/", f"{target.key}/"
        async for item in objects_below(source.volume, prefix):
            if len(moves) == self._limit:
                message = f"{prefix} holds more than {self._limit} objects: copy it, or raise"
                raise FSError(errno.EXDEV, f"{message} --rename-limit")
            moves.append(move_below(item, prefix, new_prefix))
            check_length(moves[-1].target)
            self._made()
        return tuple(moves)

    # Either

    def _intent(self, source: Place, target: Place) -> Intent:
        journal, dataset = self._services.journal, source.volume.dataset
        return replace(new_intent(journal, Action.RENAME, dataset, source.key), target=target.key)

    async def _carry_out(self, rename: _Rename) -> None:
        volume, intent, moves = rename.source.volume, rename.intent, rename.moves
        await self._services.journal.record_intent(intent)
        try:
            etags = await copy_all(volume, intent, moves, self._made)
        except Exception as error:
            await self._give_up(rename, error)
        changed = {move.key: (move.etag, etags.get(move.key, move.etag)) for move in moves}
        try:
            await self._show(rename, rename.source, rename.target, changed)
        except Exception as error:
            await take_back(volume, moves, etags)
            await self._give_up(rename, error)
        removals = Removals()
        await removals.make(volume, moves, self._made)
        for move in removals.late:
            if move.etag:
                await self._services.deferred_deletes.delete_in_background(
                    volume, move.key, move.etag
                )
        if removals.refused:
            await self._refuse(rename, removals, etags)
        if rename.entry.kind is Kind.OBJECT:
            # Nothing is stored under the old name before the journal has a row, and so this.
            self._services.journal.complete_intent_later(intent.id)
        else:
            await self._services.journal.complete_intent(intent.id)

    def _made(self) -> None:
        self._services.progress.made()

    async def _give_up(self, rename: _Rename, error: Exception) -> NoReturn:
        """Nothing was renamed."""
        await self._services.journal.complete_intent(rename.intent.id)
        self._index.expire(rename.source.directory.ino)
        self._index.expire(rename.target.directory.ino)
        if not isinstance(error, (PreconditionFailed, NoSuchKey)):
            raise error
        source, target = rename.source.key, rename.target.key
        message = f"{source} or {target} was changed by another client"
        raise FSError(errno.ESTALE, message) from error

    async def _show(
        self, rename: _Rename, start: Place, end: Place, etags: Mapping[str, tuple[str, str]]
    ) -> None:
        """Let journal, index and open files know the new place.

        `etags`: by the keys at the start, those of the objects there and of the others.
        """
        before, after = start.key, end.key
        replaced = rename.replaced

        def moved(file: File) -> tuple[ObjectVersion, str]:
            # What another client made of an open file meanwhile is not the version it changes.
            known, copied = etags.get(file.key, (None, None))
            etag = copied if file.etag == known else file.etag
            key = after + file.key[len(before) :]
            name = end.name if file.key == before else file.name
            return ObjectVersion(key, etag, file.version.size), name

        changes = NameChanges()
        for file in rename.held:
            changes.move(file, *moved(file))
        if replaced is not None and not replaced.unlinked:
            changes.unlink(replaced)
        await changes.make(self._services.journal)
        if replaced is not None:
            self._index.remove(replaced.ino)
        self._index.move(rename.entry.ino, end.directory.ino, end.name)
        self._note_etags(rename.entry, before, etags)
        # Also those that were opened for reading since.
        for file in self._files.below(f"{before}/", start.volume):
            if not (file.unlinked or file in rename.held):
                file.move(*moved(file))

    def _note_etags(self, entry: Entry, start: str, etags: Mapping[str, tuple[str, str]]) -> None:
        """Copies of multipart objects have other ETags: the entries that are known learn them."""
        for key, (before, after) in etags.items():
            if before == after:
                continue
            child: Entry | None = entry
            for name in filter(None, key[len(start) :].split("/")):
                child = None if child is None else self._index.child(child.ino, name)
            if child is not None and child.kind is Kind.OBJECT and child.etag == before:
                self._index.update(child.ino, etag=after)

    async def _refuse(
        self, rename: _Rename, removals: Removals, etags: Mapping[str, str]
    ) -> NoReturn:
        """Not all originals may be deleted: undo it all, or say what stands."""
        move, error = removals.refused[0]
        number = errno.EACCES if isinstance(error, AccessDenied) else errno.EIO
        source, target = rename.source, rename.target
        if removals.made or removals.late or rename.replaced is not None:
            message = (
                f"{target.key} is complete, but {move.key} could not be removed: both names remain"
            )
        else:
            back = {
                each.target: (etags.get(each.key, each.etag), each.etag) for each in rename.moves
            }
            await self._show(rename, target, source, back)
            left = await take_back(source.volume, rename.moves, etags)
            message = f"{source.key} is not renamed, since {move.key} could not be removed"
            message += f"; {left} copies are left below {target.key}" if left else ""
        await self._services.journal.complete_intent(rename.intent.id)
        for place in (source, target):
            self._index.expire(place.directory.ino)
            change = Invalidation(place.directory.ino, place.name, rename.entry.ino)
            self._services.content.changed([change])
        raise FSError(number, f"{message} ({error})") from error
