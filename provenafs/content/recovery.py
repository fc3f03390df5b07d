"""What could not be stored: sent by the next mount, or by hand; exported, or discarded.

A mount sends by itself only files whose close was acknowledged, and only over the object version
they started from. It does so behind, so that recovery never delays a mount.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from provenafs.content.directories import resume_rename
from provenafs.content.file import File, may_pass
from provenafs.content.files import Files
from provenafs.content.journal import NOBODY, Action, Intent, Row, State
from provenafs.content.touches import copy_with_attributes
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed

log = logging.getLogger(__name__)

_PIECE = 8 * 1024 * 1024  # bytes read at once by an export
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0

_Owed = tuple[str, Callable[[], Awaitable[None]]]

# Gives the volume of a dataset by its name in the journal; FSError if it cannot be had.
VolumeOf = Callable[[str], Awaitable[Volume]]


@dataclass(frozen=True, slots=True)
class Item:
    """One file in recovery. `size` in bytes, `changed_at` in seconds since the epoch.

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


class Recovery:
    """The files and changes that earlier mounts did not bring to their end."""

    def __init__(self, files: Files, volume_of: VolumeOf) -> None:
        self._files = files
        self._volume_of = volume_of
        self._rows: Sequence[Row] = ()
        self._intents: Sequence[Intent] = ()

    async def adopt(self) -> None:
        """Take over what ended mounts owed: once, before anything can be asked of the mount."""
        journal = self._files.journal
        try:
            self._rows, self._intents = await journal.adopt(), await journal.intents()
        except FSError as error:
            log.error("what earlier mounts have left is not looked at: %s", error)
        for intent in self._intents:
            if intent.action is Action.DELETE:
                self._files.deletions.adopt(intent)

    async def resume(self) -> None:
        """Finish what was adopted: run once, behind."""
        owed: list[_Owed] = [(one.key, partial(self._carry_out, one)) for one in self._intents]
        owed += [(row.key, partial(self._settle, row)) for row in self._rows]
        pause = _FIRST_PAUSE_S
        while owed := [(key, work) for key, work in owed if not await self._is_done(key, work)]:
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def items(self) -> list[Item]:
        """Everything in the journal that the bucket does not have, oldest first."""
        return [
            self._item(row, alive)
            for row, alive in await self._files.journal.rows()
            if row.state is not State.SENT
        ]

    async def send(self, item_id: str, key: str | None = None) -> None:
        """Store a file, at `key` where its own is taken. ESTALE if something else is there."""
        row = await self._row(item_id)
        file = await self._to_send(row, key or row.key)
        try:
            await file.store_now()
        finally:
            if not await file.finish():
                file.close()

    async def export(self, item_id: str, path: Path) -> None:
        """Write a file to the local disk. EEXIST; EIO if not all of it can be had any more."""
        row = await self._row(item_id)
        if row.parts:
            message = f"part of {row.key} is in an unfinished upload only: send it"
            raise FSError(errno.EIO, message)
        volume = await self._volume_of(row.dataset)
        file = await File.recover(self._files, volume, row, row.key)
        try:
            await self._files.area.run(partial(_make, path))
            for offset in range(0, file.size, _PIECE):
                data = await file.read(offset, _PIECE)
                await self._files.area.run(partial(_append, path, data))
        finally:
            file.close()

    async def discard(self, item_id: str) -> None:
        """Delete the bytes of a file for good."""
        row = await self._row(item_id)
        if row.upload_id is not None:
            await self._is_done(row.key, partial(self._abort, row))
        await self._forget(row)

    async def _row(self, item_id: str) -> Row:
        for row, alive in await self._files.journal.rows():
            if row.id.startswith(item_id):
                if alive and row.owner != self._files.journal.owner:
                    raise FSError(errno.EBUSY, f"{row.key} is still in use by a mount")
                return row
        raise FSError(errno.ENOENT, f"there is nothing called {item_id} in recovery")

    def _item(self, row: Row, alive: bool) -> Item:
        path = self._files.area.path(row.id)
        size = path.stat().st_size if path.exists() else row.size
        return Item(
            row.id, row.dataset, row.key, row.state, size, row.changed_at, row.reason, alive,
            row.state in (State.CLOSED, State.FAILED),
        )  # fmt: skip

    # What a mount does by itself

    async def _settle(self, row: Row) -> None:
        if row.state is State.SENT or not self._files.area.path(row.id).exists():
            # The bytes go first, once the object is stored; the row may outlive them in a crash.
            await self._forget(row)
        elif row.state is State.CLOSED:
            await self._keep_promise(row)
        else:
            await self._abort_needless(row)
            await self._files.journal.update(row.id, owner=NOBODY)
            log.warning("%s was not completely written: see 'provenafs recover'", row.key)

    async def _keep_promise(self, row: Row) -> None:
        """Store what a close was acknowledged for, unless that was done before the end came."""
        volume = await self._volume_of(row.dataset)
        try:
            head = await volume.writer.head(row.key)
        except NoSuchKey:
            head = None
        if head is not None and head.metadata.write_id == row.write_id:
            await self._forget(row)
            return
        log.info("storing %s, which an earlier mount had acknowledged", row.key)
        self._files.send_recovered(await self._to_send(row, row.key))

    async def _forget(self, row: Row) -> None:
        self._files.area.discard(row.id)
        await self._files.journal.remove(row.id)

    async def _to_send(self, row: Row, key: str) -> File:
        await self._abort_needless(row)
        volume = await self._volume_of(row.dataset)
        return await File.recover(self._files, volume, row, key)

    async def _abort_needless(self, row: Row) -> None:
        """An upload is gone on with only where its parts are the only copy."""
        if row.upload_id is not None and not row.parts:
            await self._abort(row)
            await self._files.journal.update(row.id, upload_id=None)

    async def _abort(self, row: Row) -> None:
        volume = await self._volume_of(row.dataset)
        assert row.upload_id is not None
        await volume.writer.abort(row.key, row.upload_id)

    async def _carry_out(self, intent: Intent) -> None:
        if intent.action is Action.DELETE:
            await self._delete(intent)
            return
        volume = await self._volume_of(intent.dataset)
        try:
            if intent.action is Action.RENAME:
                await resume_rename(self._files, volume, intent)
                return
            await copy_with_attributes(volume, intent)
        except (PreconditionFailed, NoSuchKey):
            log.info("%s was changed by somebody else: it stays", intent.key)
        volume.drive.expire(intent.key)
        await self._files.journal.fulfil(intent.id)

    async def _delete(self, intent: Intent) -> None:
        try:
            volume = await self._volume_of(intent.dataset)
        except Exception as error:
            if not may_pass(error):
                self._files.deletions.abandon(intent)
            raise
        await self._files.deletions.resume(volume, intent)

    async def _is_done(self, key: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether trying again would change nothing: it is done, or it cannot be."""
        try:
            await work()
        except Exception as error:  # one that cannot be helped must not keep the others waiting
            if may_pass(error):
                log.warning("%s has to wait: %s", key, error)
                return False
            log.error("%s stays in recovery: %s", key, error)
        return True


def _make(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _append(path: Path, data: bytes | memoryview) -> None:
    with path.open("ab") as file:
        file.write(data)
