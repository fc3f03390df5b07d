"""Objects that are deleted after their name: behind, or with the last release of their handles.

The intent is journalled before the name goes, and the key is hidden from listings until the object
is deleted. One that somebody else has changed meanwhile, or that may not be deleted, stays, and
its name comes back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from provenafs.content.file import may_pass
from provenafs.content.journal import Action, Intent, new_intent
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, Unavailable

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
    intent: Intent
    volume: Volume | None  # None: an earlier mount's, whose dataset is not known yet
    is_fresh: bool  # the object was seen a moment ago, and no attempt was made yet
    due: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    failure: Exception | None = None


class Deletions:
    """The deletions of a mount that are still to be made, by key."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._pending: dict[str, _Pending] = {}
        self._behind = 0
        self._one_less = trio.Event()
        self._run_until = -math.inf
        self._careful_until = -math.inf

    # Making them

    async def takes_over(self) -> bool:
        """Whether an unlink now need not wait for the bucket: one right after another.

        Waits while many are under way. Unavailable if none of those ends within `io_timeout`.
        """
        if not self._careful_until < trio.current_time() < self._run_until:
            return False
        with trio.move_on_after(self._files.content.s3.io_timeout):
            while self._behind >= _BEHIND_AT_ONCE:
                await self._one_less.wait()
            return True
        raise Unavailable(f"the last {_BEHIND_AT_ONCE} deletions are not answered")

    def unlinked(self) -> None:
        """A name was removed."""
        self._run_until = trio.current_time() + _RUN_WITHIN_S

    async def delete_behind(self, volume: Volume, key: str, etag: str) -> None:
        """Delete an object soon. The name is to go at once."""
        pending = await self._intend(volume, key, etag)
        pending.due.set()
        self._behind += 1
        self._files.nursery.start_soon(self._delete_behind, pending, volume)

    async def delete_when_released(self, volume: Volume, key: str, etag: str) -> None:
        """Delete the object of an open file with its last release. The name is to go at once."""
        pending = await self._intend(volume, key, etag)
        self._files.nursery.start_soon(self._delete, pending, volume)

    async def _intend(self, volume: Volume, key: str, etag: str) -> _Pending:
        while key in self._pending:
            await self.hurry(key)
        intent = new_intent(self._files.journal, Action.DELETE, volume.dataset, key, etag=etag)
        pending = self._add(_Pending(intent, volume, is_fresh=True))
        try:
            await self._files.journal.intend(intent)
        except BaseException:
            self._end(pending)
            raise
        return pending

    def _add(self, pending: _Pending) -> _Pending:
        self._pending[pending.intent.key] = pending
        self._files.content.hidden.add(pending.intent.key)
        return pending

    def _end(self, pending: _Pending) -> None:
        self._files.content.hidden.discard(pending.intent.key)
        del self._pending[pending.intent.key]
        pending.done.set()

    # Those of earlier mounts

    def adopt(self, intent: Intent) -> None:
        """Hide what an earlier mount was about to delete, before anybody can look at it."""
        if intent.key not in self._pending:
            self._add(_Pending(intent, None, is_fresh=False)).due.set()

    async def resume(self, volume: Volume, intent: Intent) -> None:
        """Make, behind, a deletion that was adopted. Unavailable: as hurry."""
        while (pending := self._pending.get(intent.key)) is None or pending.intent is not intent:
            await self.hurry(intent.key)
            self.adopt(intent)
        pending.volume = volume
        volume.drive.expire(intent.key)
        self._files.nursery.start_soon(self._delete, pending, volume)

    def abandon(self, intent: Intent) -> None:
        """Leave a deletion that was adopted to another mount."""
        pending = self._pending.get(intent.key)
        if pending is not None and pending.intent is intent:
            self._end(pending)

    # Waiting for them

    def released(self, key: str) -> None:
        """The last handle of a file is gone."""
        if key in self._pending:
            self._pending[key].due.set()

    async def hurry(self, key: str) -> None:
        """Delete now what still waits under this key, since something else will be stored there.

        Whether that was possible shows in the bucket. Unavailable if it takes longer than
        `io_timeout`.
        """
        await self._made([self._pending[key]] if key in self._pending else [])

    async def hurry_below(self, prefix: str) -> None:
        """Delete now what still waits below this prefix; as hurry."""
        await self._made([one for key, one in self._pending.items() if key.startswith(prefix)])

    async def sync(self, volume: Volume | None) -> None:
        """Return once what is due is deleted, of one dataset or of all; raises the first failure.

        As hurry; what waits for a release goes on waiting.
        """
        due = [
            one
            for one in self._begun()
            if one.due.is_set() and (volume is None or one.intent.dataset == volume.dataset)
        ]
        await self._made(due)
        for one in due:
            if one.failure is not None:
                raise one.failure

    async def flush(self) -> None:
        """Make all deletions, however long that takes."""
        await self._made(self._begun(), within=math.inf)

    async def _made(self, wanted: Sequence[_Pending], within: float | None = None) -> None:
        for one in wanted:
            one.due.set()
        for one in wanted:
            with trio.move_on_after(within or self._files.content.s3.io_timeout):
                await one.done.wait()
            if not one.done.is_set():
                raise Unavailable(f"deleting {one.intent.key}: not answered yet")

    def owed(self) -> list[Intent]:
        """What is due and not made."""
        return [one.intent for one in self._pending.values() if one.due.is_set()]

    def _begun(self) -> list[_Pending]:
        return [one for one in self._pending.values() if one.volume is not None]

    # One of them

    async def _delete_behind(self, pending: _Pending, volume: Volume) -> None:
        try:
            await self._delete(pending, volume)
        finally:
            self._behind -= 1
            self._one_less.set()
            self._one_less = trio.Event()

    async def _delete(self, pending: _Pending, volume: Volume) -> None:
        was_seen, is_deleted = pending.is_fresh, False
        try:
            with trio.move_on_after(_RELEASED_WITHIN_S):
                await pending.due.wait()
            pending.due.set()
            is_deleted = await self._is_deleted(pending, volume)
            await self._fulfil(pending.intent)
        finally:
            self._end(pending)
            if is_deleted and was_seen:
                volume.drive.deleted(pending.intent.key)
            else:
                self._show_again(pending, volume)

    async def _fulfil(self, intent: Intent) -> None:
        """Until then nothing new may be stored under the key: the next mount would delete it."""
        with trio.move_on_after(self._files.content.s3.io_timeout):
            while True:
                try:
                    await self._files.journal.fulfil(intent.id)
                    return
                except FSError as error:
                    log.warning("%s: %s", intent.key, error)
                await trio.sleep(_PAUSE_S)

    def _show_again(self, pending: _Pending, volume: Volume) -> None:
        ino = volume.drive.expire(pending.intent.key)
        if pending.failure is not None:
            self._files.failed(ino, pending.failure)

    async def _is_deleted(self, pending: _Pending, volume: Volume) -> bool:
        """Delete an object; False where it stays, with what has refused it as the failure."""
        key, etag = pending.intent.key, pending.intent.etag
        while True:
            try:
                await volume.may_write()
                if not pending.is_fresh and await _is_newer(volume, pending.intent):
                    log.info("%s was stored anew: it stays", key)
                    return False
                pending.is_fresh = False
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


async def _is_newer(volume: Volume, intent: Intent) -> bool:
    """Whether the object was stored after it was removed: equal bytes have the same ETag."""
    try:
        return (await volume.writer.head(intent.key)).modified > intent.changed_at
    except NoSuchKey:
        return False
