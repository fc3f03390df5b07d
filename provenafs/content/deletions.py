"""Objects that are deleted after their name: behind, or with the last release of their handles.

The intent is journalled before the name goes, and the key is hidden from listings until the object
is deleted. One that somebody else has changed meanwhile, or that may not be deleted, stays, and
its name comes back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from provenafs.content.file import may_pass
from provenafs.content.journal import Action, Intent, new_intent
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.errors import PreconditionFailed, Unavailable

if TYPE_CHECKING:
    from provenafs.content.files import Files

log = logging.getLogger(__name__)

_RELEASED_WITHIN_S = 60.0
_BEHIND_AT_ONCE = 16
# An unlink that comes so soon after another is one of many, as of `rm -r`.
_RUN_WITHIN_S = 0.1
# After one that was refused, whoever removes names is told at once of the next.
_CAREFUL_FOR_S = 10.0
_PAUSE_S = 1.0


@dataclass(eq=False, slots=True)
class _Pending:
    volume: Volume
    intent: Intent
    due: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    failure: Exception | None = None


class Deletions:
    """The deletions of a mount that are still to be made."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._pending: dict[str, _Pending] = {}
        self._slots = trio.Semaphore(_BEHIND_AT_ONCE)
        self._run_until = -math.inf
        self._careful_until = -math.inf

    # Making them

    @property
    def is_run(self) -> bool:
        """Whether names are removed one right after the other, and none was refused."""
        return self._careful_until < trio.current_time() < self._run_until

    def unlinked(self) -> None:
        """A name was removed."""
        self._run_until = trio.current_time() + _RUN_WITHIN_S

    async def delete_behind(self, volume: Volume, key: str, etag: str) -> None:
        """Delete an object soon; waits while many others are under way.

        Unavailable if none of those ends within `io_timeout`.
        """
        with trio.move_on_after(self._files.content.s3.io_timeout) as waiting:
            await self._slots.acquire()
        if waiting.cancelled_caught:
            raise Unavailable(f"deleting {key}: the deletions before it are not answered")
        try:
            pending = await self._intend(volume, key, etag)
        except BaseException:
            self._slots.release()
            raise
        pending.due.set()
        self._files.nursery.start_soon(self._delete_in_slot, pending)

    async def delete_when_released(self, volume: Volume, key: str, etag: str) -> None:
        """Delete the object of an open file with its last release. The name is to go at once."""
        pending = await self._intend(volume, key, etag)
        self._files.nursery.start_soon(self._delete, pending)

    async def resume(self, volume: Volume, intent: Intent) -> None:
        """Make, behind, a deletion that an earlier mount has journalled."""
        await self.hurry(intent.key)
        pending = self._add(volume, intent)
        pending.due.set()
        self._files.nursery.start_soon(self._delete, pending)

    async def _intend(self, volume: Volume, key: str, etag: str) -> _Pending:
        await self.hurry(key)
        intent = new_intent(self._files.journal, Action.DELETE, volume.dataset, key, etag=etag)
        await self._files.journal.intend(intent)
        return self._add(volume, intent)

    def _add(self, volume: Volume, intent: Intent) -> _Pending:
        pending = self._pending[intent.key] = _Pending(volume, intent)
        self._files.content.hidden.add(intent.key)
        return pending

    # Waiting for them

    def released(self, key: str) -> None:
        """The last handle of a file is gone."""
        if key in self._pending:
            self._pending[key].due.set()

    async def hurry(self, key: str) -> None:
        """Delete now what still waits under this key, since something else will be stored there.

        Unavailable if that takes longer than `io_timeout`.
        """
        if key in self._pending:
            await self._made([self._pending[key]])

    async def hurry_below(self, prefix: str) -> None:
        """Delete now what still waits below this prefix; as hurry."""
        await self._made([one for key, one in self._pending.items() if key.startswith(prefix)])

    async def sync(self, volume: Volume | None) -> None:
        """Return once what is due is deleted, of one dataset or of all; raises the first failure.

        As hurry; what waits for a release goes on waiting.
        """
        due = [
            one
            for one in self._pending.values()
            if one.due.is_set() and (volume is None or one.volume.dataset == volume.dataset)
        ]
        await self._made(due)
        for one in due:
            if one.failure is not None:
                raise one.failure

    async def _made(self, wanted: Iterable[_Pending]) -> None:
        for one in wanted:
            one.due.set()
        for one in wanted:
            with trio.move_on_after(self._files.content.s3.io_timeout):
                await one.done.wait()
            if not one.done.is_set():
                raise Unavailable(f"deleting {one.intent.key}: not answered yet")

    async def flush(self) -> None:
        """Make all deletions, however long that takes."""
        for one in list(self._pending.values()):
            one.due.set()
            await one.done.wait()

    def owed(self) -> list[Intent]:
        """What is due and not made."""
        return [one.intent for one in self._pending.values() if one.due.is_set()]

    # One of them

    async def _delete_in_slot(self, pending: _Pending) -> None:
        try:
            await self._delete(pending)
        finally:
            self._slots.release()

    async def _delete(self, pending: _Pending) -> None:
        with trio.move_on_after(_RELEASED_WITHIN_S):
            await pending.due.wait()
        pending.due.set()
        key, is_deleted = pending.intent.key, False
        try:
            is_deleted = await self._is_deleted(pending)
            await self._files.journal.fulfil(pending.intent.id)
        except FSError as error:
            log.warning("%s is looked at again with the next mount: %s", key, error)
        finally:
            self._files.content.hidden.discard(key)
            self._show(pending, is_deleted)
            del self._pending[key]
            pending.done.set()

    def _show(self, pending: _Pending, is_deleted: bool) -> None:
        """Have listings tell the truth again."""
        drive, key = pending.volume.drive, pending.intent.key
        if is_deleted:
            drive.deleted(key)
            return
        ino = drive.expire(key)
        if pending.failure is not None:
            self._files.failed(ino, pending.failure)

    async def _is_deleted(self, pending: _Pending) -> bool:
        """Delete an object; False where it stays, with what has refused it as the failure."""
        volume, key, etag = pending.volume, pending.intent.key, pending.intent.etag
        while True:
            try:
                await volume.may_write()
                await volume.writer.delete(key, etag)
                return True
            except PreconditionFailed:
                log.info("%s was stored anew by somebody else: it stays", key)
                return False
            except Exception as error:  # also of the credential source
                if not may_pass(error):
                    log.error("%s could not be removed: %s", key, error)
                    self._careful_until = trio.current_time() + _CAREFUL_FOR_S
                    pending.failure = error
                    return False
                log.warning("%s is not removed yet: %s", key, error)
            await trio.sleep(_PAUSE_S)
