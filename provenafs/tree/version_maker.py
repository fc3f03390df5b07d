"""`versions/create`: writing a reason creates a new version."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable

import trio

from provenafs.errors import FSError
from provenafs.printable import is_printable
from provenafs.provena.errors import Invalid
from provenafs.tree.context import Context
from provenafs.tree.names import directory_name
from provenafs.tree.node import Attributes, Handle, Node
from provenafs.tree.text import Text

NAME = "create"
_LONGEST = 64 * 1024  # bytes


class VersionMaker(Node):
    """Never listed, so that a recursive copy makes no version; it can only be written."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(ino)
        self._context = context
        self._handle = handle

    async def attributes(self) -> Attributes:
        dataset = await self._context.catalog.dataset(self._handle)
        permissions = 0o200 if dataset.version_refusal() is None else 0
        return Attributes(self.ino, stat.S_IFREG | permissions, mtime_ns=self._context.started_ns)

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        """It is always empty."""
        if size:
            raise FSError(errno.EINVAL, "this file takes a reason and has no size")

    async def open(self, flags: int) -> Handle:
        if flags & os.O_ACCMODE != os.O_WRONLY:
            raise FSError(errno.EACCES, "this file makes new versions and cannot be read")
        refusal = (await self._context.fresh(self._handle)).version_refusal()
        if refusal is not None:
            raise refusal
        return _MakerHandle(self._make, Text(self._context.memory, _LONGEST))

    async def _make(self, reason: str) -> None:
        new = await self._context.versioning.create(self._handle, reason)
        chain = await self._context.catalog.versions(self._handle)
        forget = self._context.content.forget
        forget(directory_name(new.handle))
        for _, handle in chain:
            directory = directory_name(handle)
            forget(directory, "versions", f"v{new.number}")
            forget(directory, "versions", "latest")
        forget(directory_name(self._handle), ".provena", "record.json")


class _MakerHandle(Handle):
    """Makes one version: at the first close that finds a line with words in it.

    Every further close fails again, so that no program misses the failure.
    """

    direct_io = True

    def __init__(self, make: Callable[[str], Awaitable[None]], text: Text) -> None:
        self._make = make
        self._text = text
        self._lock = trio.Lock()
        self._is_done = False
        self._failure: Exception | None = None

    async def write(self, offset: int, data: bytes) -> int:
        self._text.write(offset, data)
        return len(data)

    async def flush(self) -> None:
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._is_done or not bytes(self._text).strip():
                return
            self._is_done = True
            try:
                await self._make(_first_line(bytes(self._text)))
            except Exception as error:
                self._failure = error
                raise

    async def sync(self) -> None:
        await self.flush()


def _first_line(text: bytes) -> str:
    """The first non-empty line; raises Invalid unless it is printable text."""
    try:
        line = " ".join(text.decode("utf-8-sig").strip().partition("\n")[0].split())
    except UnicodeDecodeError:
        raise Invalid("the reason for a new version must be UTF-8") from None
    if not is_printable(line):
        raise Invalid("the reason for a new version is not printable text")
    return line
