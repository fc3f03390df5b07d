"""`data/`: the files of a dataset."""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Mapping, Sequence

from provenafs.catalog.dataset import Dataset
from provenafs.content.drive import Drive
from provenafs.content.index import Entry, Kind
from provenafs.content.reader import Reader
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.documents import is_write, text_xattrs
from provenafs.tree.node import Attributes, DirectoryEntry, Handle, Listing, Node

_ENTRIES_PER_READ = 1000


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

    async def readable_drive(self) -> Drive:
        """The object tree; EACCES without a data read role."""
        dataset = await self.dataset()
        refusal = dataset.read_refusal()
        if refusal is not None:
            raise refusal
        return self.context.drive(dataset, self.top)

    async def check_writable(self) -> None:
        """Raise why nothing here can be changed: EACCES for role and lock, EROFS for release."""
        refusal = (await self.dataset()).write_refusal()
        raise refusal or FSError(errno.EROFS, "writing is not supported by this mount")


class DataDirectory(_DataNode):
    """A common prefix of the dataset's objects."""

    def child(self, entry: Entry) -> Node:
        """The node of an entry in this directory."""
        kind = DataFile if entry.kind is Kind.OBJECT else DataDirectory
        return kind(self.context, self.handle, self.top, entry)

    async def attributes(self) -> Attributes:
        dataset = await self.dataset()
        if self.entry.ino != self.top.ino:
            return entry_attributes(self.context, dataset, self.entry, await self._fresh_until())
        mtime = float(dataset.record.created_timestamp)
        timeout = self.context.timeout(dataset.fetched_at)
        return Attributes(self.ino, _directory_mode(dataset), mtime=mtime, timeout=timeout)

    async def _fresh_until(self) -> float:
        parent = self.context.index.get(self.entry.parent)
        return 0.0 if parent is None else parent.listed_at + self.context.catalog.ttl

    async def lookup(self, name: str) -> Node:
        drive = await self.readable_drive()
        entry = await drive.lookup(self.entry, name)
        if entry is None:
            raise FSError(errno.ENOENT)
        return self.child(entry)

    async def listing(self) -> Listing:
        drive = await self.readable_drive()
        directory = await drive.refresh(self.entry)
        return _DataListing(self.context, await self.dataset(), directory)

    async def mkdir(self, name: str) -> Node:
        await self.check_writable()
        raise AssertionError

    async def create(self, name: str, flags: int) -> tuple[Node, Handle]:
        await self.check_writable()
        raise AssertionError

    async def unlink(self, name: str) -> None:
        await self.check_writable()

    async def rmdir(self, name: str) -> None:
        await self.check_writable()

    async def rename(self, name: str, target: Node, new_name: str, *, replace: bool) -> None:
        await self.check_writable()


class DataFile(_DataNode):
    """An object of the dataset."""

    async def attributes(self) -> Attributes:
        dataset = await self.dataset()
        parent = self.context.index.get(self.entry.parent)
        until = 0.0 if parent is None else parent.listed_at + self.context.catalog.ttl
        return entry_attributes(self.context, dataset, self.entry, until)

    async def xattrs(self) -> Mapping[str, bytes]:
        drive = await self.readable_drive()
        return text_xattrs({"etag": self.entry.etag, "key": drive.key(self.entry)})

    async def set_attributes(
        self, *, size: int | None = None, mtime: float | None = None, handle: Handle | None = None
    ) -> None:
        await self.check_writable()

    async def open(self, flags: int) -> Handle:
        drive = await self.readable_drive()
        if is_write(flags):
            await self.check_writable()
        return _ReadHandle(drive.open(self.entry))


class _ReadHandle(Handle):
    """An object version opened for reading."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return await self._reader.read(offset, size)

    async def release(self) -> None:
        await self._reader.close()


class _DataListing(Listing):
    """A directory of the index, read in inode order with the inode number as cursor.

    Bounded by the highest number at the time of opening, so that a reader that makes files as it
    goes comes to an end.
    """

    def __init__(self, context: Context, dataset: Dataset, directory: Entry) -> None:
        self._context = context
        self._dataset = dataset
        self._directory = directory
        self._last = context.index.last_child(directory.ino)
        self._fresh_until = directory.listed_at + context.catalog.ttl

    async def read(self, after: int) -> Sequence[DirectoryEntry]:
        children = self._context.index.children(self._directory.ino, after, _ENTRIES_PER_READ)
        return [
            DirectoryEntry(
                entry.ino,
                entry.name,
                entry_attributes(self._context, self._dataset, entry, self._fresh_until),
            )
            for entry in children
            if entry.ino <= self._last
        ]


def entry_attributes(
    context: Context, dataset: Dataset, entry: Entry, fresh_until: float
) -> Attributes:
    """What stat shows of an entry; trusted by the kernel for what is left of the TTL."""
    timeout = max(0.0, fresh_until - time.time())
    mtime = entry.modified if entry.mtime is None else entry.mtime
    if entry.kind is Kind.OBJECT:
        mode = stat.S_IFREG | (0o644 if _shows_write_bits(dataset) else 0o444)
        return Attributes(entry.ino, mode, entry.size, mtime, timeout)
    mtime = mtime or float(dataset.record.created_timestamp)
    return Attributes(entry.ino, _directory_mode(dataset), 0, mtime, timeout)


def _directory_mode(dataset: Dataset) -> int:
    if not dataset.may_read_data:
        return stat.S_IFDIR
    return stat.S_IFDIR | (0o755 if _shows_write_bits(dataset) else 0o555)


def _shows_write_bits(dataset: Dataset) -> bool:
    """Released and pending keep the write bits: writing answers EROFS, which says why."""
    return dataset.may_write_data and not dataset.locked
