"""Objects deleted after their name: in the background, or with the last release of their handles.

The intent is journalled before the name goes, and the key is hidden from listings until the object
is deleted. One that another client has changed meanwhile, or that may not be deleted, stays, and
its name comes back. What was refused is told by the next removal in its directory, or by a sync.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from provenafs.content.journal import Journal, new_intent
from provenafs.content.journal_schema import Action, Intent
from provenafs.content.naming.delete_queue import DeleteQueue
from provenafs.content.volume import Volume
from provenafs.content.writing.file import File
from provenafs.content.writing.keeping import keep
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.lib.parallel import run_all
from provenafs.s3.deleting import Fate, Removal, fits_batch
from provenafs.s3.errors import PreconditionFailed, Unavailable, is_transient

log = logging.getLogger(__name__)

_RELEASED_WITHIN_S = 60.0
# An unlink that comes so soon after another is one of many, as of `rm -r`.
_RUN_WITHIN_S = 0.1
# After a refused one, the next failures are returned by the unlink itself.
_CAREFUL_FOR_S = 10.0
_PAUSE_S = 1.0
_UNTOLD = 256  # directories


@dataclass(eq=False, slots=True)
class _Pending:
    intent: Intent
    volume: Volume | None  # None: an earlier mount's, whose dataset is not known yet
    removal: Removal
    is_ours: bool  # not of an earlier mount: the object was seen a moment ago
    due: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    failure: Exception | None = None
    file: File | None = None  # that may be open


class DeferredDeletes:
    """The deletions of a mount that are still to be made, by key."""

    def __init__(
        self,
        journal: Journal,
        nursery: Background,
        hidden: set[str],
        failed: Callable[[int, Exception], None],
        io_timeout: float,
    ) -> None:
        """`hidden` are the keys that listings leave out; `failed` is called with refused deletions.

        `io_timeout` in seconds.
        """
        self._journal = journal
        self._nursery = nursery
        self._hidden = hidden
        self._failed = failed
        self._io_timeout = io_timeout
        self._pending: dict[str, _Pending] = {}
        self._queues: dict[Volume, DeleteQueue[_Pending]] = {}
        self._untold: dict[tuple[str, str], Exception] = {}  # by dataset and directory
        self._run_until = -math.inf
        self._careful_until = -math.inf

    # Making them

    async def should_defer(self, volume: Volume) -> bool:
        """Whether this unlink may be deferred: it closely follows another.

        Waits while many are under way. Unavailable if none of those ends within `io_timeout`.
        """
        if not self._careful_until < trio.current_time() < self._run_until:
            return False
        with trio.move_on_after(self._io_timeout):
            await self._queue(volume).room()
            return True
        raise Unavailable("the last deletions got no response")

    def unlinked(self) -> None:
        """A name was removed."""
        self._run_until = trio.current_time() + _RUN_WITHIN_S

    async def delete_in_background(self, volume: Volume, key: str, etag: str) -> None:
        """Delete an object in the background. The name is to go at once."""
        pending = await self._intend(volume, key, etag)
        pending.due.set()
        self._queue(volume).put(pending)

    def _queue(self, volume: Volume) -> DeleteQueue[_Pending]:
        queue = self._queues.get(volume)
        if queue is None:
            queue = self._queues[volume] = DeleteQueue(
                volume,
                self._nursery,
                partial(self._delete, volume=volume),
                partial(self._delete_many, volume=volume),
            )
        return queue

    async def delete_when_released(self, volume: Volume, file: File, etag: str) -> None:
        """Delete the object of an open file with its last release. The name is to go at once."""
        pending = await self._intend(volume, file.key, etag)
        pending.file = file
        self._nursery.start_soon(self._delete, pending, volume)

    async def _intend(self, volume: Volume, key: str, etag: str) -> _Pending:
        while key in self._pending:
            await self.wait_for_delete(key)
        intent = new_intent(self._journal, Action.DELETE, volume.dataset, key)
        intent = replace(intent, etag=etag)
        pending = self._add(_Pending(intent, volume, _removal(intent), is_ours=True))
        try:
            await self._journal.record_intent(intent)
        except BaseException:
            self._end(pending)
            raise
        return pending

    def _add(self, pending: _Pending) -> _Pending:
        self._pending[pending.intent.key] = pending
        self._hidden.add(pending.intent.key)
        return pending

    def _end(self, pending: _Pending) -> None:
        self._hidden.discard(pending.intent.key)
        del self._pending[pending.intent.key]
        pending.done.set()

    # Those of earlier mounts

    def adopt(self, intent: Intent) -> None:
        """Hide what an earlier mount was about to delete, before anybody can look at it."""
        if intent.key not in self._pending:
            pending = self._add(_Pending(intent, None, _removal(intent), is_ours=False))
            pending.removal.was_attempted = True
            pending.due.set()

    async def resume(self, volume: Volume, intent: Intent) -> None:
        """Carry out an adopted deletion in the background. Unavailable: as wait_for_delete."""
        while (pending := self._pending.get(intent.key)) is None or pending.intent is not intent:
            await self.wait_for_delete(intent.key)
            self.adopt(intent)
        pending.volume = volume
        volume.drive.expire(intent.key)
        self._nursery.start_soon(self._delete, pending, volume)

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

    async def wait_for_delete(self, key: str) -> None:
        """Delete now what still waits under this key, since something else will be stored there.

        Whether that was possible shows in the bucket. Unavailable if it takes longer than
        `io_timeout`.
        """
        await self._made([self._pending[key]] if key in self._pending else [])

    async def wait_for_deletes_below(self, prefix: str) -> None:
        """Delete now what still waits below this prefix; as wait_for_delete."""
        await self._made([one for key, one in self._pending.items() if key.startswith(prefix)])

    async def sync(self, volume: Volume | None) -> None:
        """Return once what is due is deleted, of one dataset or of all.

        Raises, once, a refusal that nobody was shown yet. As wait_for_delete; what waits for a
        release goes on waiting.
        """
        due = [
            one
            for one in self._begun()
            if one.due.is_set() and (volume is None or one.intent.dataset == volume.dataset)
        ]
        await self._made(due)
        for dataset, directory in list(self._untold):
            if volume is None or dataset == volume.dataset:
                self._raise_untold(dataset, directory)

    def tell(self, volume: Volume, key: str) -> None:
        """Raise, once, what has refused a deletion in the directory of this key."""
        self._raise_untold(volume.dataset, _directory(key))

    def _raise_untold(self, dataset: str, directory: str) -> None:
        failure = self._untold.pop((dataset, directory), None)
        if failure is not None:
            raise failure

    async def flush(self) -> None:
        """Make all deletions, however long that takes."""
        await self._made(self._begun(), within=math.inf)

    async def _made(self, wanted: Sequence[_Pending], within: float | None = None) -> None:
        for one in wanted:
            one.due.set()
        for queue in self._queues.values():
            queue.send_now()
        for one in wanted:
            with trio.move_on_after(within or self._io_timeout):
                await one.done.wait()
            if not one.done.is_set():
                raise Unavailable(f"deleting {one.intent.key}: no response yet")

    def owed(self) -> list[Intent]:
        """The pending deletions that are due."""
        return [one.intent for one in self._pending.values() if one.due.is_set()]

    def _begun(self) -> list[_Pending]:
        return [one for one in self._pending.values() if one.volume is not None]

    # One of them

    async def _delete(self, pending: _Pending, volume: Volume) -> None:
        is_deleted = False
        try:
            with trio.move_on_after(_RELEASED_WITHIN_S):
                await pending.due.wait()
            pending.due.set()
            is_deleted = await self._lost(pending, volume)
            await self._fulfil([pending])
        finally:
            self._close(pending, volume, is_deleted=is_deleted)

    def _close(self, pending: _Pending, volume: Volume, *, is_deleted: bool) -> None:
        self._end(pending)
        try:
            if is_deleted:
                volume.drive.deleted(pending.intent.key)
            if not (is_deleted and pending.is_ours):
                self._show_again(pending, volume)
        except Exception:  # the deletions of others go on
            log.exception("the listing of %s may be out of date", pending.intent.key)

    async def _lost(self, pending: _Pending, volume: Volume) -> bool:
        """Delete an object; its open handles keep what they may still read."""
        file = pending.file
        if file is None or not file.uses:
            return await self._is_deleted(pending, volume)
        with trio.move_on_after(self._io_timeout / 2):
            async with file.name_lock:
                await keep(file, self._io_timeout)
        file.is_lost = True
        file.is_lost = await self._is_deleted(pending, volume)
        return file.is_lost

    async def _fulfil(self, done: Sequence[_Pending]) -> None:
        """Until then nothing new may be stored under the key: the next mount would delete it."""
        with trio.move_on_after(self._io_timeout):
            while True:
                try:
                    await self._journal.complete_intent(*[one.intent.id for one in done])
                    return
                except FSError as error:
                    log.warning("%s: %s", done[0].intent.key, error)
                await trio.sleep(_PAUSE_S)

    def _show_again(self, pending: _Pending, volume: Volume) -> None:
        key = pending.intent.key
        ino = volume.drive.expire(key)
        if pending.failure is not None:
            self._failed(ino, pending.failure)
            while len(self._untold) >= _UNTOLD:
                del self._untold[next(iter(self._untold))]
            self._untold[volume.dataset, _directory(key)] = pending.failure

    async def _is_deleted(self, pending: _Pending, volume: Volume) -> bool:
        """Delete an object; False where it stays, with what has refused it as the failure."""
        key, etag = pending.intent.key, pending.intent.etag
        while True:
            try:
                await volume.may_write()
                await volume.writer.delete(key, etag, pending.removal)
                return True
            except PreconditionFailed:
                log.info("%s was stored anew by another client: it stays", key)
                return False
            except Exception as error:  # also of the credential source
                if not is_transient(error):
                    log.error("%s could not be removed: %s", key, error)
                    self._careful_until = trio.current_time() + _CAREFUL_FOR_S
                    pending.failure = error
                    return False
                log.warning("%s is not removed yet: %s", key, error)
            await trio.sleep(_PAUSE_S)

    # Many of them in one request

    async def _delete_many(self, batch: Sequence[_Pending], volume: Volume) -> bool:
        """Delete what one request can; the rest one by one. False if the answer was not clear."""
        # Without an ETag there is no condition, and whatever is there would be deleted.
        fit = [one for one in batch if one.intent.etag and fits_batch(one.intent.key)]
        fates = await self._fates(fit, volume) if fit else {}
        gone, stays, rest = [], [], []
        for one in batch:
            fate = fates.get(one.intent.key)
            if fate in (Fate.DELETED, Fate.ABSENT):
                gone.append(one)
            elif fate is Fate.CHANGED:
                log.info("%s was stored anew by another client: it stays", one.intent.key)
                stays.append(one)
            else:
                rest.append(one)
        if gone or stays:
            await self._fulfil([*gone, *stays])
        for one in gone:
            self._close(one, volume, is_deleted=True)
        for one in stays:
            self._close(one, volume, is_deleted=False)
        await run_all(partial(self._delete, one, volume) for one in rest)
        return len(gone) + len(stays) == len(fit)

    async def _fates(self, batch: Sequence[_Pending], volume: Volume) -> Mapping[str, Fate]:
        """The fate of each; unknown ones need a HEAD."""
        wanted = {one.intent.key: one.intent.etag or "" for one in batch}
        try:
            await volume.may_write()
            for one in batch:
                one.removal.was_attempted = True
            return await volume.writer.delete_many(wanted)
        except Exception as error:  # also of the credential source; reported one by one
            log.info("%d objects are deleted one by one: %s", len(batch), error)
            if isinstance(error, Unavailable):
                for key in wanted:
                    volume.writer.late_deletes.add(key)
            return {}


def _removal(intent: Intent) -> Removal:
    return Removal(intent.key, intent.etag, intent.changed_at)


def _directory(key: str) -> str:
    return key.rpartition("/")[0]
