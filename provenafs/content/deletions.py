"""Objects whose name was removed while they were open: deleted with the last release.

The intent is journalled, the name hidden from listings. Nobody waits longer than a minute: then
the handles read what is cached, and ESTALE beyond.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from provenafs.content.file import File
from provenafs.content.journal import Action, new_intent
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.errors import PreconditionFailed, S3Error

if TYPE_CHECKING:
    from provenafs.content.files import Files

log = logging.getLogger(__name__)

_WITHIN_S = 60.0


@dataclass(slots=True)
class _Pending:
    due: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)


class Deletions:
    """The deletions of a mount that wait for their handles."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._pending: dict[str, _Pending] = {}

    async def delete_when_released(self, volume: Volume, file: File, etag: str) -> None:
        """Delete the object of an open file, later. The name is to be removed at once."""
        key = file.key
        await self.hurry(key)
        intent = new_intent(self._files.journal, Action.DELETE, volume.dataset, key, etag=etag)
        await self._files.journal.intend(intent)
        pending = self._pending[key] = _Pending()
        self._files.content.hidden.add(key)
        self._files.nursery.start_soon(self._delete, volume, key, etag, intent.id, pending)

    def released(self, key: str) -> None:
        """The last handle of a file is gone."""
        if key in self._pending:
            self._pending[key].due.set()

    async def hurry(self, key: str) -> None:
        """Delete now what still waits under this key, since something else will be stored there."""
        pending = self._pending.get(key)
        if pending is not None:
            pending.due.set()
            await pending.done.wait()

    async def hurry_below(self, prefix: str) -> None:
        """Delete now what still waits below this prefix."""
        for key in list(self._pending):
            if key.startswith(prefix):
                await self.hurry(key)

    async def flush(self) -> None:
        """Delete everything that waits."""
        await self.hurry_below("")

    async def _delete(
        self, volume: Volume, key: str, etag: str, intent: str, pending: _Pending
    ) -> None:
        with trio.move_on_after(_WITHIN_S):
            await pending.due.wait()
        try:
            try:
                await volume.writer.delete(key, etag)
            except PreconditionFailed:
                log.info("%s was stored anew by somebody else: it stays", key)
            await self._files.journal.fulfil(intent)
        except (S3Error, FSError) as error:
            log.warning("%s is removed with the next mount: %s", key, error)
        finally:
            self._files.content.hidden.discard(key)
            del self._pending[key]
            pending.done.set()
