"""A dataset's directory and the documents made from its record."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from provenafs.catalog import documents
from provenafs.catalog.dataset import Dataset
from provenafs.content.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.data import DataDirectory
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document, LiveDocument, text_xattrs
from provenafs.tree.node import Attributes, Listing, Node
from provenafs.tree.versions import VersionsDirectory

_NAMES = (".provena", "data", "metadata.json", "versions")


class DatasetDirectory(VirtualDirectory):
    """metadata.json, versions, data and .provena of one dataset."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle

    def child(self, entry: Entry) -> Node:
        match entry.name:
            case "metadata.json":
                return MetadataFile(self.context, entry.ino, self._handle)
            case "versions":
                return VersionsDirectory(self.context, entry.ino, self._handle)
            case "data":
                return DataDirectory(self.context, self._handle, entry, entry)
            case ".provena":
                return ProvenaDirectory(self.context, entry.ino, self._handle)
        raise FSError(errno.ESTALE)

    async def attributes(self) -> Attributes:
        record = await self.context.catalog.record(self._handle)
        timeout = self.context.catalog.list_timeout
        return Attributes(
            self.ino, self.mode, mtime=float(record.updated_timestamp), timeout=timeout
        )

    async def xattrs(self) -> Mapping[str, bytes]:
        dataset = await self.context.catalog.dataset(self._handle)
        refusal = dataset.write_refusal()
        return text_xattrs(
            {
                "handle": dataset.handle,
                "release_status": dataset.record.release_status,
                "locked": "true" if dataset.locked else "false",
                "roles": ",".join(sorted(dataset.roles)),
                "why_readonly": None if refusal is None else refusal.message,
            }
        )

    async def lookup(self, name: str) -> Node:
        if name not in _NAMES:
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> Listing:
        return await self.snapshot(list(_NAMES))


class DatasetDocument(Document):
    """A document made from one dataset's record."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(ino)
        self.context = context
        self.handle = handle

    async def dataset(self) -> Dataset:
        """The dataset, no older than the TTL."""
        return await self.context.catalog.dataset(self.handle)

    async def age(self) -> tuple[float, float]:
        dataset = await self.dataset()
        return float(dataset.record.updated_timestamp), self.context.timeout(dataset.fetched_at)


class MetadataFile(DatasetDocument):
    """`metadata.json`: the CollectionFormat as the registry holds it."""

    async def content(self) -> bytes:
        return documents.metadata_json((await self.dataset()).record.collection_format)


class ProvenaDirectory(VirtualDirectory):
    """`.provena/`: what the service knows about the dataset."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle

    def child(self, entry: Entry) -> Node:
        match entry.name:
            case "record.json":
                return RecordFile(self.context, entry.ino, self._handle)
            case "last-error.txt":
                return LastErrorFile(self.context, entry.ino, self._handle)
        raise FSError(errno.ESTALE)

    async def lookup(self, name: str) -> Node:
        if name not in ("record.json", "last-error.txt"):
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> Listing:
        return await self.snapshot(["last-error.txt", "record.json"])


class RecordFile(DatasetDocument):
    """The whole registry item, the user's roles and the lock."""

    async def content(self) -> bytes:
        return documents.record_json(await self.dataset())


class LastErrorFile(LiveDocument):
    """The words of the last refusal on this dataset; empty if there was none."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(ino)
        self._context = context
        self._handle = handle

    async def content(self) -> bytes:
        message = self._context.last_errors.get(self._handle)
        return b"" if message is None else message.encode() + b"\n"
