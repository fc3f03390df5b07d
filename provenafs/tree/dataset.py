"""A dataset's directory and the documents made from its record."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from provenafs.catalog import documents
from provenafs.catalog.citation import citation_cff
from provenafs.catalog.crate import ro_crate_metadata
from provenafs.catalog.dataset import Dataset
from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.tree import metadata_file
from provenafs.tree.context import Context
from provenafs.tree.data import DataDirectory
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document, text_xattrs
from provenafs.tree.editable import EditableDirectory
from provenafs.tree.last_error import LastErrorFile
from provenafs.tree.metadata_file import MetadataFile
from provenafs.tree.names import directory_name
from provenafs.tree.node import Attributes, DirectoryHandle, Handle, Node
from provenafs.tree.rejected import RejectedDirectory
from provenafs.tree.scratch import ScratchNode, is_scratch
from provenafs.tree.versions import VersionsDirectory

_NAMES = (".provena", "data", "metadata.json", "versions")
_DOCUMENTS = {
    "citation.cff": citation_cff,
    "record.json": documents.record_json,
    "ro-crate-metadata.json": ro_crate_metadata,
}
_PROVENA_NAMES = (*_DOCUMENTS, "last-error.txt", "rejected")


class DatasetDirectory(EditableDirectory):
    """metadata.json, versions, data and .provena of one dataset."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino, context.edits.scratch)
        self._handle = handle
        self._edits = context.edits

    def child(self, entry: Entry) -> Node:
        match entry.name:
            case metadata_file.NAME:
                return MetadataFile(self.context, entry.ino, self._handle)
            case "versions":
                return VersionsDirectory(self.context, entry.ino, self._handle)
            case "data":
                return DataDirectory(self.context, self._handle, entry, entry)
            case ".provena":
                return ProvenaDirectory(self.context, entry.ino, self._handle)
        return ScratchNode(self.scratch, entry.ino)

    async def attributes(self) -> Attributes:
        record = await self.context.catalog.record(self._handle)
        return dataset_attributes(self.context, self.ino, record.updated_timestamp)

    async def xattrs(self) -> Mapping[str, bytes]:
        dataset = await self.context.catalog.dataset(self._handle)
        refusal = dataset.write_refusal()
        return text_xattrs(
            {
                "handle": dataset.handle,
                "release_status": dataset.record.release_status,
                "locked": "true" if dataset.locked else "false",
                "roles": ",".join(sorted(dataset.roles)),
                "reason": self._edits.reason(self._handle),
                "why_readonly": None if refusal is None else refusal.message,
            }
        )

    async def set_xattr(self, name: str, value: bytes) -> None:
        """`user.provena.reason`, as on metadata.json."""
        await self._metadata().set_xattr(name, value)

    async def listing(self) -> DirectoryHandle:
        children = self.context.index.children(self.ino)
        scratch = [child.name for child in children if self.scratch.get(child.ino) is not None]
        return await self.snapshot([*filter(self.has, _NAMES), *scratch])

    # Editors: files of a moment beside metadata.json, and their names changed with it

    def has(self, name: str) -> bool:
        if name == metadata_file.NAME:
            return not self._edits.is_removed(self._handle)
        return name in _NAMES or self.scratch_entry(name) is not None

    def refusal(self, name: str) -> str | None:
        if name == metadata_file.NAME or is_scratch(name):
            return None
        return f"{name} cannot be made here: files belong in data/"

    def may_move(self, name: str, new_name: str) -> bool:
        may_leave = name == metadata_file.NAME or self.scratch_entry(name) is not None
        return may_leave and self.refusal(new_name) is None

    async def make(self, name: str, flags: int) -> tuple[Node, Handle]:
        """A scratch file, or metadata.json after its removal: it begins empty."""
        await self.context.check_metadata_writable(self._handle)
        if name != metadata_file.NAME:
            self.make_scratch(name)
        node = self.child_called(name)
        handle = await node.open(flags | os.O_TRUNC)
        if name == metadata_file.NAME:
            self._edits.restore(self._handle)
        return node, handle

    async def unlink(self, name: str) -> None:
        """Remove a scratch file, or metadata.json in order to replace it."""
        entry = self.scratch_entry(name)
        if entry is None and name != metadata_file.NAME:
            raise FSError(errno.EPERM, f"{name} cannot be removed: it is a part of the dataset")
        if entry is None:
            await self.context.check_metadata_writable(self._handle)
            entry = self.context.get_or_create(self.ino, name)
            self._edits.remove(self._handle)
        self.scratch.drop(entry.ino)
        self.context.index.remove(entry.ino)

    async def move(self, name: str, new_name: str) -> None:
        entry = self.scratch_entry(name)
        if entry is None:
            entry = await self._set_aside()
        elif new_name == metadata_file.NAME:
            await self._save(entry)
        replaced = self.context.index.child(self.ino, new_name)
        if replaced is not None:
            self.scratch.drop(replaced.ino)
        self.context.index.move(entry.ino, self.ino, new_name)

    async def _set_aside(self) -> Entry:
        """Make metadata.json a backup with its text; its name is removed by that."""
        await self.context.check_metadata_writable(self._handle)
        text = self.scratch.text(await self._metadata().read())
        entry = self.context.get_or_create(self.ino, metadata_file.NAME)
        self.scratch.put(entry.ino, text)
        self._edits.remove(self._handle)
        return entry

    async def _save(self, entry: Entry) -> None:
        """Save a scratch file as the metadata."""
        text = self.scratch.get(entry.ino)
        await self._edits.save(self._handle, b"" if text is None else bytes(text))
        self._edits.restore(self._handle)
        self.scratch.drop(entry.ino)

    def _metadata(self) -> MetadataFile:
        entry = self.context.get_or_create(self.ino, metadata_file.NAME)
        return MetadataFile(self.context, entry.ino, self._handle)


def dataset_attributes(context: Context, ino: int, updated: int) -> Attributes:
    """The attributes of a dataset's directory; `updated` in seconds since the epoch."""
    timeout = context.catalog.list_timeout
    return Attributes(ino, DatasetDirectory.mode, mtime_ns=updated * 10**9, timeout=timeout)


class DatasetDocument(Document):
    """A document that `make` makes from one dataset's record."""

    def __init__(
        self, context: Context, ino: int, handle: str, make: Callable[[Dataset], bytes]
    ) -> None:
        super().__init__(ino)
        self._context = context
        self._handle = handle
        self._make = make

    async def content(self) -> bytes:
        return self._make(await self._context.catalog.dataset(self._handle))

    async def age(self) -> tuple[int, float]:
        dataset = await self._context.catalog.dataset(self._handle)
        mtime_ns = dataset.record.updated_timestamp * 10**9
        return mtime_ns, self._context.timeout(dataset.fetched_at)


class ProvenaDirectory(VirtualDirectory):
    """`.provena/`: what the service knows about the dataset."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle

    def child(self, entry: Entry) -> Node:
        match entry.name:
            case name if name in _DOCUMENTS:
                make = _DOCUMENTS[name]
                return DatasetDocument(self.context, entry.ino, self._handle, make)
            case "last-error.txt":
                return LastErrorFile(self.context, entry.ino, directory_name(self._handle))
            case "rejected":
                return RejectedDirectory(self.context, entry.ino, self._handle)
        raise FSError(errno.ESTALE)

    async def lookup(self, name: str) -> Node:
        if name not in _PROVENA_NAMES:
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot(_PROVENA_NAMES)
