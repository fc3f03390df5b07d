"""The protocol between the kernel adapter and what the mount shows.

A `Node` implements only what it adds: every default raises the errno that a local filesystem would
return for an object of that kind. Nodes are made anew for each request and hold no state; what
lives between requests is in the catalog, the index, and in open handles.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from provenafs.errors import FSError


# Named tuples, made for every name of every listing: dataclasses would take twice as long.
class Attributes(NamedTuple):
    """Attributes for stat. Sizes in bytes, times in nanoseconds since the epoch.

    `timeout` is for how many seconds the kernel may trust the name and the attributes. `ctime_ns`
    None is that of `mtime_ns`.
    """

    ino: int
    mode: int
    size: int = 0
    mtime_ns: int = 0
    timeout: float = 0.0
    ctime_ns: int | None = None


class DirectoryEntry(NamedTuple):
    """One name of a listing; a reader goes on after it by giving back its `cursor`."""

    cursor: int
    name: str
    attributes: Attributes


class DirectoryHandle:
    """An open directory, stable while the directory changes."""

    async def read(self, after: int) -> Sequence[DirectoryEntry]:
        """The next entries after the cursor `after` (0: from the start); empty at the end."""
        raise NotImplementedError

    async def sync(self) -> None:
        """fsyncdir: wait until everything below is stored."""

    async def close(self) -> None:
        """releasedir."""


class Snapshot(DirectoryHandle):
    """A listing whose entries are all known when it is opened."""

    def __init__(self, entries: Sequence[tuple[str, Attributes]]) -> None:
        self._entries = [
            DirectoryEntry(position, name, attributes)
            for position, (name, attributes) in enumerate(entries, start=1)
        ]

    async def read(self, after: int) -> Sequence[DirectoryEntry]:
        return self._entries[after:]


class Handle:
    """An open file. `direct_io`: the kernel caches nothing and asks beyond the shown size.

    `release_stores`: what a flush that was given up did not store is stored by the release.
    """

    direct_io = False
    keep_cache = True
    release_stores = False

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        raise FSError(errno.EBADF)

    async def write(self, offset: int, data: bytes) -> int:
        """Write `data` at `offset`; returns how many bytes were taken."""
        raise FSError(errno.EBADF)

    async def flush(self) -> None:
        """A descriptor of this handle was closed; an error here is what close() answers."""

    async def sync(self) -> None:
        """fsync: return once what was written is stored."""

    async def release(self) -> None:
        """The last descriptor is gone; cannot report errors."""


class BytesHandle(Handle):
    """A document that is already in memory; `held` is its part of the memory of documents."""

    def __init__(self, content: bytes, *, direct_io: bool = False) -> None:
        self._content = memoryview(content)
        self.direct_io = direct_io
        self.keep_cache = False
        self.held: object | None = None

    def __len__(self) -> int:
        return len(self._content)

    async def read(self, offset: int, size: int) -> memoryview:
        return self._content[offset : offset + size]


class Node:
    """A file, directory or link of the mount."""

    def __init__(self, ino: int) -> None:
        self.ino = ino
        self.is_linked = True  # False once its name is gone, while a handle is open

    async def attributes(self) -> Attributes:
        """The attributes for stat."""
        raise NotImplementedError

    async def xattrs(self) -> Mapping[str, bytes]:
        """The extended attributes; all names start with `user.provena.`."""
        return {}

    async def xattr(self, name: str) -> bytes:
        """One extended attribute; ENODATA if there is none."""
        try:
            return (await self.xattrs())[name]
        except KeyError:
            raise FSError(errno.ENODATA) from None

    async def set_xattr(self, name: str, value: bytes) -> None:
        """Set an extended attribute."""
        raise FSError(errno.EPERM, f"the attribute {name} cannot be set here")

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        """Truncate, or set the modification time; without either, the owner was changed."""
        raise FSError(errno.EPERM)

    async def set_mode(self, mode: int) -> None:
        """Set permission bits. They only inform: what is made by the mount keeps its own."""
        await self.set_attributes()

    async def lookup(self, name: str) -> Node:
        """The child called `name`; ENOENT if there is none."""
        raise FSError(errno.ENOTDIR)

    async def listing(self) -> DirectoryHandle:
        """Open this directory for reading."""
        raise FSError(errno.ENOTDIR)

    async def readlink(self) -> str:
        """The target of this symbolic link."""
        raise FSError(errno.EINVAL)

    async def is_local(self) -> bool:
        """Whether this file can be read without fetching its bytes."""
        return True

    async def open(self, flags: int) -> Handle:
        """Open this file; `flags` as of open(2)."""
        raise FSError(errno.EISDIR)

    async def create(self, name: str, flags: int, mode: int = 0o644) -> tuple[Node, Handle]:
        """Create and open the file `name` in this directory, with these permission bits."""
        raise FSError(errno.EPERM)

    async def mkdir(self, name: str) -> Node:
        """Make the directory `name` in this directory."""
        raise FSError(errno.EPERM)

    async def unlink(self, name: str) -> None:
        """Remove the file `name` from this directory."""
        raise FSError(errno.EPERM)

    async def rmdir(self, name: str) -> None:
        """Remove the empty directory `name` from this directory."""
        raise FSError(errno.EPERM)

    async def rename(self, name: str, target: Node, new_name: str, *, replace: bool) -> None:
        """Move the child `name` to the directory `target` as `new_name`."""
        raise FSError(errno.EPERM)
