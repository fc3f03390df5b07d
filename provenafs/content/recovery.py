"""Recovery of files that were not stored: send, export or discard, by the next mount or the user.

A mount sends by itself only files whose close was acknowledged, and only over the object version
they started from. It does so in the background, so that recovery never delays a mount; until it is
done with a name, or has refused it, nobody else may change that one.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from provenafs.content.claims import Claim
from provenafs.content.journal_schema import Action, Intent, Row, State, changed_row, removed_row
from provenafs.content.mount_lock import UNOWNED
from provenafs.content.naming.attribute_updates import copy_with_attributes
from provenafs.content.naming.moves import Ending, finish
from provenafs.content.store import Store
from provenafs.content.volume import Volume
from provenafs.content.writing.file import File
from provenafs.errors import FSError, Transient
from provenafs.lib.backoff import Backoff
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, is_transient

log = logging.getLogger(__name__)

_PIECE = 8 * 1024 * 1024  # bytes read at once by an export
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0

_LEFT = "the unfinished work of an earlier mount: see 'provenafs recover list'"


_Owed = tuple[str, str, Callable[[], Awaitable[None]]]  # id, key, action

# Gives the volume of a dataset by its name in the journal; FSError if it cannot be had.
VolumeOf = Callable[[str], Awaitable[Volume]]


@dataclass(frozen=True, slots=True)
class Item:
    """One file in recovery, or a rename to `target`. Sizes in bytes, times since the epoch.

    `in_use`: a mount is still at it, so that it can only be looked at. `complete`: a close was
    acknowledged or attempted, so that the bytes are what the program meant to store.
    """

    id: str
    dataset: str
    key: str
    state: State
    size: int
    changed_at: float
    reason: str
    in_use: bool
    complete: bool
    target: str = ""


class Recovery:
    """The files and changes that earlier mounts did not bring to their end."""

    def __init__(self, store: Store, volume_of: VolumeOf) -> None:
        self._store = store
        self._files = store.files
        self._volume_of = volume_of
        self._owed: list[_Owed] = []
        self._rows: dict[str, Row] = {}
        self._renames: dict[str, Intent] = {}  # that are not finished
        self._claims: dict[str, list[Claim]] = {}

    async def adopt(self) -> None:
        """Adopt the unfinished work of earlier mounts, once, before the first request."""
        try:
            await self._sweep()
            rows = await self._store.journal.adopt()
            intents = await self._store.journal.intents()
        except FSError as error:
            log.error("the unfinished work of earlier mounts cannot be read: %s", error)
            return
        for intent in intents:
            if intent.action is Action.DELETE:
                self._store.deferred_deletes.adopt(intent)
            else:
                keys = [key.rstrip("/") for key in (intent.key, intent.target) if key]
                self._hold(intent.id, intent.dataset, keys)
            if intent.action is Action.RENAME:
                self._renames[intent.id] = intent
            self._owed.append((intent.id, intent.key, partial(self._carry_out, intent)))
        for row in rows:
            self._rows[row.id] = row
            if row.state is State.CLOSED:
                self._hold(row.id, row.dataset, [row.key])
            self._owed.append((row.id, row.key, partial(self._settle, row.id)))

    def _hold(self, owed: str, dataset: str, keys: Sequence[str]) -> None:
        """Claim these names until their pending work is done, or refused."""
        claim = self._store.claims.reserve(dataset, keys, _LEFT)
        self._claims.setdefault(owed, []).append(claim)

    async def _sweep(self) -> None:
        """Delete staged bytes whose row is gone: what was removed or replaced before a crash."""
        area, journal = self._store.area, self._store.journal
        # In this order: a row is written before its bytes.
        staged = await area.run(area.names)
        rows = {row.id for row, _ in await journal.rows()} if staged else set()
        for name in staged - rows:
            area.discard(name)

    async def resume(self) -> None:
        """Finish what was adopted: run once, in the background."""
        owed, backoff = self._owed, Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while owed := [one for one in owed if not await self._is_over(*one)]:
            await backoff.pause()

    async def _is_over(self, owed: str, key: str, work: Callable[[], Awaitable[None]]) -> bool:
        if not await self._is_done(key, work):
            return False
        self._renames.pop(owed, None)
        self._free(self._claims.pop(owed, []))
        return True

    def _free(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._store.claims.end(claim)

    async def items(self) -> list[Item]:
        """Everything in the journal that the bucket does not have, oldest first."""
        journal = self._store.journal
        items = [
            self._item(row, alive)
            for row, alive in await journal.rows()
            if row.state is not State.SENT
        ]
        items += [
            _rename_item(intent, alive)
            for intent, alive in await journal.all_intents()
            if intent.action is Action.RENAME
        ]
        return sorted(items, key=lambda item: item.changed_at)

    async def send(self, item_id: str, key: str | None = None) -> None:
        """Store a file, at `key` where its own is taken. ESTALE if something else is there.

        A rename is gone on with. EEXIST if its place is still taken.
        """
        row = await self._named(item_id)
        if isinstance(row, Intent):
            await self._go_on(row, key)
            return
        file = await self._to_send(row, key or row.key)
        try:
            await file.store_now()
        finally:
            if not await file.finish():
                file.close()

    async def export(self, item_id: str, path: Path) -> None:
        """Write a file to the local disk. EEXIST; EIO if not all of it can be had any more."""
        row = await self._named(item_id)
        if isinstance(row, Intent):
            raise FSError(errno.EINVAL, "a rename has no bytes to export")
        if row.parts:
            message = f"part of {row.key} is in an unfinished upload only: send it"
            raise FSError(errno.EIO, message)
        volume = await self._volume_of(row.dataset)
        file = await self._files.recover(volume, row, row.key)
        try:
            await self._store.area.run(partial(_make, path))
            try:
                for offset in range(0, file.size, _PIECE):
                    data = await file.read(offset, _PIECE)
                    await self._store.area.run(partial(_append, path, data))
            except BaseException:  # part of a file would pass for all of it
                _unmake(path)
                raise
        finally:
            file.close()

    async def discard(self, item_id: str) -> None:
        """Delete the bytes of a file for good; forget a rename, which leaves all where it is."""
        row = await self._named(item_id)
        if isinstance(row, Intent):
            await self._store.journal.complete_intent(row.id)
            return
        if row.upload_id is not None:
            await self._is_done(row.key, partial(self._abort, row))
        await self._forget(row)

    async def _named(self, item_id: str) -> Row | Intent:
        """The item with this id or id prefix. ENOENT, EINVAL; EBUSY: in use by a mount."""
        journal = self._store.journal
        found: list[tuple[Row | Intent, bool]] = [
            (row, alive) for row, alive in await journal.rows() if row.state is not State.SENT
        ]
        found += [
            (intent, alive)
            for intent, alive in await journal.all_intents()
            if intent.action is Action.RENAME
        ]
        found = [(item, alive) for item, alive in found if item.id.startswith(item_id)]
        if not found:
            raise FSError(errno.ENOENT, f"there is nothing called {item_id} in recovery")
        if len(found) > 1:
            raise FSError(errno.EINVAL, f"more than one item in recovery begins with '{item_id}'")
        ((item, alive),) = found
        if alive and item.owner != journal.owner:
            raise FSError(errno.EBUSY, f"{item.key} is still in use by a mount")
        return item

    async def _go_on(self, intent: Intent, key: str | None) -> None:
        if key is not None:
            raise FSError(errno.EINVAL, "a rename goes where it was begun: leave out --as")
        await self._finish(await self._volume_of(intent.dataset), intent)
        for left, _ in await self._store.journal.all_intents():
            if left.id == intent.id:
                raise FSError(errno.EEXIST, left.reason)

    def _item(self, row: Row, alive: bool) -> Item:
        path = self._store.area.path(row.id)
        size = path.stat().st_size if path.exists() else row.size
        return Item(
            row.id, row.dataset, row.key, row.state, size, row.changed_at, row.reason, alive,
            row.state in (State.CLOSED, State.FAILED),
        )  # fmt: skip

    # Automatic recovery by a mount

    async def _settle(self, row_id: str) -> None:
        row = self._rows.get(row_id)
        if row is None:
            return  # its place was taken by a rename that is finished now
        if any(row_id in (*rename.rows, *rename.replaced) for rename in self._renames.values()):
            raise Transient(errno.EIO, "it goes with a rename that is not finished")
        try:
            await self._settle_row(row)
        except Exception as error:
            if not is_transient(error):
                await self._leave_row(row, row.state, str(error))
            raise

    async def _settle_row(self, row: Row) -> None:
        has_bytes = self._store.area.path(row.id).exists()
        if row.state is State.CLOSED:
            await self._keep_promise(row, has_bytes=has_bytes)
        elif row.state is State.SENT or not has_bytes:
            # The bytes go first, once the object is stored; the row may outlive them in a crash.
            await self._forget(row)
        else:
            await self._abort_needless(row)
            await self._store.journal.update(row.id, owner=UNOWNED)
            log.warning("%s was not completely written: see 'provenafs recover'", row.key)

    async def _leave_row(self, row: Row, state: State, reason: str) -> None:
        """Let go of a row: what a close was acknowledged for, the next mount tries again."""
        await self._store.journal.update(row.id, owner=UNOWNED, state=state, reason=reason)

    async def _keep_promise(self, row: Row, *, has_bytes: bool) -> None:
        """Store what a close was acknowledged for, unless that was done before the end came."""
        volume = await self._volume_of(row.dataset)
        try:
            head = await volume.writer.head(row.key)
        except NoSuchKey:
            head = None
        stored = "" if head is None else head.metadata.write_id
        # The bytes go once the object is stored, by whichever attempt; the row may outlive them.
        if stored == row.write_id or (not has_bytes and stored.startswith(f"{row.id}-")):
            await self._forget(row)
            return
        log.info("storing %s, which an earlier mount had acknowledged", row.key)
        file = await self._to_send(row, row.key) if has_bytes else None
        if file is None or file.size < row.size:
            left = 0 if file is None else file.size
            if file is not None:
                file.close()
            message = f"of the {row.size} bytes of {row.key} only {left} are left on this machine"
            log.error("%s: see 'provenafs recover'", message)
            await self._leave_row(row, State.FAILED, message)
            return
        self._files.send_recovered(file, partial(self._free, self._claims.pop(row.id, [])))

    async def _forget(self, row: Row) -> None:
        self._store.area.discard(row.id)
        await self._store.journal.remove(row.id)

    async def _to_send(self, row: Row, key: str) -> File:
        await self._abort_needless(row)
        volume = await self._volume_of(row.dataset)
        return await self._files.recover(volume, row, key)

    async def _abort_needless(self, row: Row) -> None:
        """An upload is gone on with only where its parts are the only copy."""
        if row.upload_id is not None and not row.parts:
            await self._abort(row)
            await self._store.journal.update(row.id, upload_id=None)

    async def _abort(self, row: Row) -> None:
        volume = await self._volume_of(row.dataset)
        assert row.upload_id is not None
        await volume.writer.abort(row.key, row.upload_id)

    async def _carry_out(self, intent: Intent) -> None:
        if intent.action is Action.DELETE:
            await self._delete(intent)
            return
        volume = await self._volume_of(intent.dataset)
        if intent.action is Action.RENAME:
            await self._finish(volume, intent)
            return
        try:
            await copy_with_attributes(volume, intent)
        except (PreconditionFailed, NoSuchKey):
            log.info("%s was changed by another client: it stays", intent.key)
        volume.drive.expire(intent.key)
        await self._store.journal.complete_intent(intent.id)

    async def _finish(self, volume: Volume, intent: Intent) -> None:
        """Carry a rename to its end; what is refused is left to the user."""
        try:
            ending = await finish(volume, intent)
            await self._bring_along(intent, ending)
        except Exception as error:
            if is_transient(error):
                raise
            log.error("%s is not renamed to %s: %s", intent.key, intent.target, error)
            await self._leave(intent, str(error))
            return
        if ending.refused:
            first, others = ending.refused[0].target, len(ending.refused) - 1
            reason = f"other files have taken the place of {first}"
            reason += f" and {others} more" if others else ""
            left = replace(intent, moves=tuple(ending.refused), rows=(), replaced=())
            await self._leave(left, reason)
        else:
            await self._store.journal.complete_intent(intent.id)

    async def _leave(self, intent: Intent, reason: str) -> None:
        await self._store.journal.record_intent(replace(intent, owner=UNOWNED, reason=reason))

    async def _bring_along(self, intent: Intent, ending: Ending) -> None:
        """Let staged files follow the objects they change, and forget those that were replaced."""
        if not (intent.rows or intent.replaced):
            return
        stay = {move.key for move in ending.refused + ending.void}
        rows = {row.id: row for row, _ in await self._store.journal.rows()}
        moved = [
            _moved(intent, rows[name], ending)
            for name in intent.rows
            if name in rows and rows[name].key not in stay
        ]
        gone = [] if stay else [name for name in intent.replaced if name in rows]
        await self._store.journal.record(
            [changed_row(row.id, key=row.key, base_etag=row.base_etag) for row in moved]
            + [removed_row(name) for name in gone]
        )
        for row in moved:
            if row.id in self._rows:
                self._rows[row.id] = row
            if row.id in self._claims:
                self._hold(row.id, row.dataset, [row.key])
        for name in gone:
            self._store.area.discard(name)
            self._rows.pop(name, None)

    async def _delete(self, intent: Intent) -> None:
        try:
            volume = await self._volume_of(intent.dataset)
        except Exception as error:
            if not is_transient(error):
                self._store.deferred_deletes.abandon(intent)
            raise
        await self._store.deferred_deletes.resume(volume, intent)

    async def _is_done(self, key: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether trying again would change nothing: it is done, or it cannot be."""
        try:
            await work()
        except Exception as error:  # one that cannot be helped must not keep the others waiting
            if is_transient(error):
                log.warning("%s has to wait: %s", key, error)
                return False
            log.error("%s stays in recovery: %s", key, error)
        return True


def _rename_item(intent: Intent, alive: bool) -> Item:
    state = State.FAILED if intent.owner == UNOWNED else State.CLOSED
    return Item(
        intent.id, intent.dataset, intent.key, state, 0, intent.changed_at, intent.reason, alive,
        True, intent.target,
    )  # fmt: skip


def _moved(intent: Intent, row: Row, ending: Ending) -> Row:
    """A row as it is once its file is renamed; it may know that already.

    It replaces the copy of the version it was made from, which may have another ETag.
    """
    if row.key != intent.key and not (intent.key.endswith("/") and row.key.startswith(intent.key)):
        return row
    key = intent.target + row.key[len(intent.key) :]
    versions = {move.etag for move in intent.moves or () if move.key == row.key}
    copied = ending.etags.get(key) if row.base_etag in versions else None
    return replace(row, key=key, base_etag=copied or row.base_etag)


def _make(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _unmake(path: Path) -> None:
    path.unlink(missing_ok=True)


def _append(path: Path, data: bytes | memoryview) -> None:
    with path.open("ab") as file:
        file.write(data)
