"""A text under way: what open handles have written, saved as a whole when one is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from provenafs.errors import FSError
from provenafs.tree.node import Handle
from provenafs.tree.text import Text

_Save = Callable[[bytes], Awaitable[None]]


class Draft:
    """The text of one inode, shared by its open handles.

    A save that failed fails again at every further close until the text changes, so that no
    program misses it; the service is not asked again.
    """

    def __init__(
        self, content: bytes, limit: int, save: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """`limit` in bytes; `save` is given the whole text."""
        self.handles = 0
        self.text = Text(limit, content)
        self._limit = limit
        self._save = save
        self._lock = trio.Lock()
        self._failure: Exception | None = None
        self.is_unsaved = False

    def restart(self, content: bytes) -> None:
        """Begin anew from what is stored."""
        self.text = Text(self._limit, content)
        self._failure = None
        self.is_unsaved = False

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`; EFBIG, which the close answers then too: a part is not saved."""
        try:
            self.text.write(offset, data)
        except FSError as error:
            self._failure = error
            raise
        self._touch()

    def truncate(self, size: int) -> None:
        """Cut or extend to `size` bytes; EFBIG."""
        self.text.truncate(size)
        self._touch()

    def _touch(self) -> None:
        self.is_unsaved = True
        self._failure = None

    async def save(self) -> None:
        """Save what changed since the last save.

        An empty text is not saved: a shell that opens a file for a command empties it first.
        """
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            if not self.is_unsaved or not len(self.text):
                return
            self.is_unsaved = False
            try:
                await self._save(bytes(self.text))
            except Exception as error:
                if not self.is_unsaved:
                    self._failure = error
                raise


class DraftHandle(Handle):
    """A file opened for writing a draft; `closed` is called at its release."""

    direct_io = True

    def __init__(self, draft: Draft, closed: Callable[[], None]) -> None:
        self.draft = draft
        self._closed = closed

    async def read(self, offset: int, size: int) -> bytes:
        return self.draft.text.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        self.draft.write(offset, data)
        return len(data)

    async def flush(self) -> None:
        await self.draft.save()

    async def sync(self) -> None:
        await self.draft.save()

    async def release(self) -> None:
        self._closed()
