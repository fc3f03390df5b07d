"""A draft: text written through open handles and saved as a whole at close."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

import trio

from provenafs.errors import FSError
from provenafs.tree.failures import as_fs_error
from provenafs.tree.node import Handle
from provenafs.tree.text import Text

_Save = Callable[[bytes], Awaitable[None]]


class Draft:
    """The text of one inode, shared by its open handles.

    A save that failed fails again at every further close until the text changes, so that no
    program misses it; the service is not asked again.
    """

    def __init__(self, text: Text, save: _Save) -> None:
        """`save` is given the whole text."""
        self.handles = 0
        self.text = text
        self.lock = trio.Lock()  # held while the text is saved
        self._save = save
        self._unwritten: FSError | None = None  # a part is missing: only a cut cures that
        self._failure: FSError | None = None
        self.is_unsaved = False

    def restart(self, text: Text) -> None:
        """Start over from the stored text."""
        self.text = text
        self._unwritten = self._failure = None
        self.is_unsaved = False

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`.

        EFBIG and ENOSPC, which the close answers then too: a part is not saved.
        """
        try:
            self.text.write(offset, data)
        except FSError as error:
            self._unwritten = _words(error)
            raise
        self._touch()

    def truncate(self, size: int) -> None:
        """Cut or extend to `size` bytes; EFBIG, ENOSPC."""
        self.text.truncate(size)
        self._unwritten = None
        self._touch()

    async def cut(self, size: int) -> None:
        """Truncate and save: a change of its own, which is undone if it is refused."""
        before, cut = self.text, self.text.copy()
        cut.truncate(size)
        self.text, expected = cut, bytes(cut)
        self._unwritten = None
        self._touch()
        try:
            await self.save()
        except BaseException:
            if self.text is cut and bytes(cut) == expected:
                self.text = before
            raise

    def _touch(self) -> None:
        self.is_unsaved = True
        self._failure = None

    async def save(self) -> None:
        """Save what changed since the last save.

        An empty text is not saved: a shell that opens a file for a command empties it first.
        """
        async with self.lock:
            failure = self._unwritten or self._failure
            if failure is not None:
                raise FSError(failure.errno, failure.message)
            if not self.is_unsaved or not len(self.text):
                return
            self.is_unsaved = False
            try:
                await self._save(bytes(self.text))
            except Exception as error:
                if not self.is_unsaved:
                    self._failure = _words(error)
                raise


def _words(error: Exception) -> FSError:
    """A failure without its traceback, which would keep the text and all that was made of it."""
    known = as_fs_error(error) or FSError(errno.EIO, "internal error, see the log")
    return FSError(known.errno, known.message)


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
