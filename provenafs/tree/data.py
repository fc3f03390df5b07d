"""`data/`: the files of a dataset."""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Mapping, Sequence
from functools import partial

from provenafs.catalog.dataset import Dataset
from provenafs.content.claims import Name
from provenafs.content.listing.index import Entry, Kind
from provenafs.content.naming.namespace import USUAL_MODE
from provenafs.content.volume import Volume
from provenafs.content.writing.open_files import FileHandle
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.documents import text_xattrs
from provenafs.tree.node import Attributes, DirectoryEntry, DirectoryHandle, Handle, Node

_ENTRIES_PER_READ = 256  # a little more than the kernel takes at a time
_SHARE_URL = "user.provena.share_url"


class _DataNode(Node):
    """An entry below a dataset's `data`, or `data` itself (`entry` is then `top`)."""

    def __init__(self, context: Context, handle: str, top: Entry, entry: Entry) -> None:
        super().__init__(entry.ino)
        self.context = context
        self.handle = handle
        self.top = top
        self.entry = entry

    async def dataset(self) -> Dataset:
        """The dataset, no older than the TTL."""
        return await self.context.catalog.dataset(self.handle)

    async def volume(self) -> Volume:
        """The object tree; EACCES without a data read role."""
        dataset = await self.dataset()
        refusal = dataset.read_refusal()
        if refusal is not None:
            raise refusal
        return self.context.volume(dataset, self.top)

    def fresh_until(self) -> float:
        """Until when the listing that showed this entry is trusted, in seconds of the epoch."""
        parent = self.context.index.get(self.entry.parent)
        if parent is None:
            return 0.0
        return self.context.trusted_until(self.handle, parent.listed_at)


class DataDirectory(_DataNode):
    """A common prefix of the dataset's objects."""

    def child(self, entry: Entry) -> Node:
        """The node of an entry in this directory."""
        kind = DataFile if entry.kind is Kind.OBJECT else DataDirectory
        return kind(self.context, self.handle, self.top, entry)

    async def attributes(self) -> Attributes:
        dataset = await self.dataset()
        if self.entry.ino != self.top.ino:
            return entry_attributes(self.context, dataset, self.entry, self.fresh_until())
        timeout = self.context.timeout(dataset.fetched_at)
        return _directory_attributes(dataset, self.entry, timeout)

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        """The time is kept on this machine until the content changes: S3 has no place for it."""
        await self.context.check_writable(self.handle)
        given = {} if mtime_ns is None else {"mtime_ns": mtime_ns}
        self.context.index.update(self.ino, ctime_ns=time.time_ns(), **given)

    async def lookup(self, name: str) -> Node:
        volume = await self.volume()
        entry = await volume.drive.lookup(self.entry, name)
        if entry is None:
            raise FSError(errno.ENOENT)
        return self.child(entry)

    async def listing(self) -> DirectoryHandle:
        volume = await self.volume()
        directory = await volume.drive.refresh(self.entry)
        return _DataListing(self.context, await self.dataset(), volume, directory)

    async def mkdir(self, name: str) -> Node:
        entry = await self.context.store.changes.mkdir(await self.volume(), self.entry, name)
        return self.child(entry)

    async def create(self, name: str, flags: int, mode: int = USUAL_MODE) -> tuple[Node, Handle]:
        changes = self.context.store.changes
        entry, handle = await changes.create(await self.volume(), self.entry, name, flags, mode)
        return self.child(entry), _DataHandle(handle)

    async def unlink(self, name: str) -> None:
        await self.context.store.changes.unlink(await self.volume(), self.entry, name)

    async def rmdir(self, name: str) -> None:
        await self.context.store.changes.rmdir(await self.volume(), self.entry, name)

    async def rename(self, name: str, target: Node, new_name: str, *, replace: bool) -> None:
        if not isinstance(target, DataDirectory) or target.handle != self.handle:
            raise FSError(errno.EXDEV)
        old, new = Name(self.entry, name), Name(target.entry, new_name)
        changes = self.context.store.changes
        await changes.rename(await self.volume(), old, new, replace=replace)


class DataFile(_DataNode):
    """An object of the dataset, or a file that is on its way to become one."""

    async def attributes(self) -> Attributes:
        dataset = await self.dataset()
        volume = self.context.volume(dataset, self.top)
        if volume.drive.attributes is not None and dataset.may_read_data:
            self.entry = await volume.drive.attributes.learn_here(self.entry)
        return entry_attributes(self.context, dataset, self._shown(), self.fresh_until())

    def _shown(self) -> Entry:
        """The entry; once it is gone, with what was done since through handles still open."""
        file = self.context.store.files.known(self.ino)
        if file is None or self.context.index.get(self.ino) is not None:
            return self.entry
        return file.shown(self.entry)

    async def xattrs(self) -> Mapping[str, bytes]:
        volume = await self.volume()
        entry, key = self.entry, volume.drive.key(self.entry)
        cached = str(self._cached_bytes(volume))
        pinned = "1" if volume.drive.is_pinned(entry) else None
        return text_xattrs({"etag": entry.etag, "key": key, "cached": cached, "pinned": pinned})

    async def xattr(self, name: str) -> bytes:
        """`user.provena.share_url` lets anybody download the file: never listed, made if asked."""
        if name != _SHARE_URL:
            return await super().xattr(name)
        drive = (await self.volume()).drive
        path = drive.key(self.entry).removeprefix(drive.prefix)
        return (await self.context.links.get(self.handle, path)).encode()

    async def set_xattr(self, name: str, value: bytes) -> None:
        """`user.provena.pinned` can be set to 1 and 0, `user.provena.cached` to 0: evicted."""
        drive = (await self.volume()).drive
        match name.removeprefix("user.provena."), value:
            case "pinned", b"1":
                await drive.pin(self.entry)
            case "pinned", b"0":
                await drive.unpin(self.entry)
            case "cached", b"0":
                await drive.evict(self.entry)
            case "pinned" | "cached", _:
                raise FSError(errno.EINVAL, f"{name} cannot be {value!r}")
            case _:
                await super().set_xattr(name, value)

    async def is_local(self) -> bool:
        return self._cached_bytes(await self.volume()) >= self.entry.size

    def _cached_bytes(self, volume: Volume) -> int:
        return self.entry.size if self.entry.staged else volume.drive.cached_bytes(self.entry)

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        await self.context.check_writable(self.handle)
        volume, files = await self.volume(), self.context.store.files
        if size is not None:
            await self.context.store.changes.truncate(volume, self.entry, size)
        if mtime_ns is not None or size is None:
            await files.set_attributes(volume, self.entry, mtime_ns, None)

    async def set_mode(self, mode: int) -> None:
        await self.context.check_writable(self.handle)
        await self.context.store.files.set_attributes(await self.volume(), self.entry, None, mode)

    async def open(self, flags: int) -> Handle:
        volume = await self.volume()
        return _DataHandle(await self.context.store.changes.open(volume, self.entry, flags))


class _DataHandle(Handle):
    """A file opened for reading, writing or both."""

    release_stores = True

    def __init__(self, handle: FileHandle) -> None:
        self._handle = handle

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return await self._handle.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        return await self._handle.write(offset, data)

    async def flush(self) -> None:
        await self._handle.flush()

    async def sync(self) -> None:
        await self._handle.sync()

    async def release(self) -> None:
        await self._handle.release()


class _DataListing(DirectoryHandle):
    """A directory of the index, read in inode order with the inode number as cursor.

    Bounded by the highest number at the time of opening, so that a reader that makes files as it
    goes terminates.
    """

    def __init__(
        self, context: Context, dataset: Dataset, volume: Volume, directory: Entry
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._volume = volume
        self._directory = directory
        self._last = context.index.last_child(directory.ino)
        self._fresh_until = context.trusted_until(dataset.handle, directory.listed_at)

    async def read(self, after: int) -> Sequence[DirectoryEntry]:
        read = partial(self._context.index.children, self._directory.ino, after, _ENTRIES_PER_READ)
        children, attributes = read(), self._volume.drive.attributes
        if attributes is not None and await attributes.learn(children):
            children = read()
        return [
            DirectoryEntry(
                entry.ino,
                entry.name,
                entry_attributes(self._context, self._dataset, entry, self._fresh_until),
            )
            for entry in children
            if entry.ino <= self._last
        ]

    async def sync(self) -> None:
        await self._context.store.sync(self._volume)


def entry_attributes(
    context: Context, dataset: Dataset, entry: Entry, fresh_until: float
) -> Attributes:
    """The attributes of an entry; the kernel trusts them for the rest of the TTL."""
    # A staged file changes under the kernel's eyes, through other handles too.
    timeout = 0.0 if entry.staged else max(0.0, fresh_until - time.time())
    if entry.kind is not Kind.OBJECT:
        return _directory_attributes(dataset, entry, timeout)
    mode = USUAL_MODE if entry.mode is None else entry.mode
    if not _shows_write_bits(dataset):
        mode &= 0o555
    return Attributes(
        entry.ino, stat.S_IFREG | mode, entry.size, entry.shown_mtime_ns, timeout,
        entry.shown_ctime_ns,
    )  # fmt: skip


def _directory_attributes(dataset: Dataset, entry: Entry, timeout: float) -> Attributes:
    mode = _directory_mode(dataset)
    return Attributes(entry.ino, mode, 0, entry.shown_mtime_ns, timeout, entry.shown_ctime_ns)


def _directory_mode(dataset: Dataset) -> int:
    if not dataset.may_read_data:
        return stat.S_IFDIR
    return stat.S_IFDIR | (0o755 if _shows_write_bits(dataset) else 0o555)


def _shows_write_bits(dataset: Dataset) -> bool:
    """Released and pending datasets keep the write bits: the EROFS of a write says why."""
    return dataset.may_write_data and not dataset.locked
