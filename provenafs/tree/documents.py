"""Generated files: documents of a known size, and live snapshots."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Mapping

from provenafs.errors import FSError
from provenafs.tree.node import Attributes, BytesHandle, Handle, Node


def is_write(flags: int) -> bool:
    """Whether open(2) `flags` ask for more than reading."""
    return flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)


class Document(Node):
    """A read-only file whose bytes follow from a record; its size is exact."""

    permissions = 0o444

    async def content(self) -> bytes:
        """The bytes of this document."""
        raise NotImplementedError

    async def age(self) -> tuple[int, float]:
        """(mtime in nanoseconds since the epoch, seconds the kernel may trust size and name)."""
        raise NotImplementedError

    async def attributes(self) -> Attributes:
        mtime_ns, timeout = await self.age()
        size = len(await self.content())
        return Attributes(self.ino, stat.S_IFREG | self.permissions, size, mtime_ns, timeout)

    async def open(self, flags: int) -> Handle:
        if is_write(flags):
            raise FSError(errno.EACCES, "this document is made from the record and read-only")
        return BytesHandle(await self.content())


class LiveDocument(Node):
    """A file that changes by itself: a snapshot is taken at open, its size is unknown before."""

    async def content(self) -> bytes:
        """The bytes as of now."""
        raise NotImplementedError

    async def attributes(self) -> Attributes:
        return Attributes(self.ino, stat.S_IFREG | 0o444)

    async def open(self, flags: int) -> Handle:
        if is_write(flags):
            raise FSError(errno.EACCES, "this file is about the mount and read-only")
        return BytesHandle(await self.content(), direct_io=True)


class Link(Node):
    """A symbolic link with a known target."""

    def __init__(self, ino: int, target: str, mtime_ns: int, timeout: float) -> None:
        super().__init__(ino)
        self._target = target
        self._mtime_ns = mtime_ns
        self._timeout = timeout

    async def attributes(self) -> Attributes:
        size = len(self._target.encode())
        return Attributes(self.ino, stat.S_IFLNK | 0o777, size, self._mtime_ns, self._timeout)

    async def readlink(self) -> str:
        return self._target


class LiveLink(Node):
    """A symbolic link that is resolved at each use."""

    def __init__(self, ino: int, resolve: Callable[[], Awaitable[Link]]) -> None:
        super().__init__(ino)
        self._resolve = resolve

    async def attributes(self) -> Attributes:
        return await (await self._resolve()).attributes()

    async def readlink(self) -> str:
        return await (await self._resolve()).readlink()


def text_xattrs(values: Mapping[str, str | None]) -> dict[str, bytes]:
    """Extended attributes from words: `user.provena.` before each name; None left out."""
    return {
        f"user.provena.{name}": value.encode("utf-8", "replace")
        for name, value in values.items()
        if value is not None
    }
