"""A dataset's directory and the documents made from its record."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from provenafs.catalog import documents
from provenafs.catalog.citation import citation_cff
from provenafs.catalog.crate import ro_crate_metadata
from provenafs.catalog.dataset import Dataset
from provenafs.content.index import Entry
from provenafs.errors import FSError
from provenafs.tree import metadata_file
from provenafs.tree.context import Context
from provenafs.tree.data import DataDirectory
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document, text_xattrs
from provenafs.tree.last_error import LastErrorFile
from provenafs.tree.metadata_file import MetadataFile
from provenafs.tree.names import MAX_NAME_BYTES, directory_name
from provenafs.tree.node import Attributes, Handle, Listing, Node
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


class DatasetDirectory(VirtualDirectory):
    """metadata.json, versions, data and .provena of one dataset."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle
        self._scratch = context.edits.scratch

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
        return ScratchNode(self._scratch, entry.ino)

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
                "reason": self.context.edits.reason(self._handle),
                "why_readonly": None if refusal is None else refusal.message,
            }
        )

    async def set_xattr(self, name: str, value: bytes) -> None:
        """`user.provena.reason`, as on metadata.json."""
        await self._metadata().set_xattr(name, value)

    async def lookup(self, name: str) -> Node:
        if name not in _NAMES and self._scratch_entry(name) is None:
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> Listing:
        children = self.context.index.children(self.ino)
        scratch = [child.name for child in children if self._scratch.get(child.ino) is not None]
        return await self.snapshot([*_NAMES, *scratch])

    # Editors: files of a moment beside metadata.json, and their names changed with it

    async def create(self, name: str, flags: int) -> tuple[Node, Handle]:
        found = name in _NAMES or self._scratch_entry(name) is not None
        if found and flags & os.O_EXCL:
            raise FSError(errno.EEXIST)
        if not found:
            await self._make_scratch(name)
        node = self.child_called(name)
        return node, await node.open(flags)

    async def _make_scratch(self, name: str) -> None:
        if not is_scratch(name):
            raise FSError(errno.EPERM, f"{name} cannot be made here: files belong in data/")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise FSError(errno.ENAMETOOLONG)
        await self.context.check_metadata_writable(self._handle)
        self._scratch.put(self.context.allot(self.ino, name).ino)

    async def unlink(self, name: str) -> None:
        entry = self._scratch_entry(name)
        if entry is None:
            message = f"{name} cannot be removed or replaced by a file of elsewhere: copy onto it"
            raise FSError(errno.EPERM, message)
        self._drop(entry)

    async def rename(self, name: str, target: Node, new_name: str, *, replace: bool) -> None:
        if not isinstance(target, DatasetDirectory) or target.ino != self.ino:
            raise FSError(errno.EXDEV)
        entry = self._scratch_entry(name)
        if (entry is None and name != metadata_file.NAME) or not (
            is_scratch(new_name) or new_name == metadata_file.NAME
        ):
            raise FSError(errno.EPERM, f"{name} cannot be renamed to {new_name}")
        replaced = self.context.index.child(self.ino, new_name)
        if not replace and (
            new_name == metadata_file.NAME or self._scratch_entry(new_name) is not None
        ):
            raise FSError(errno.EEXIST)
        if name == new_name:
            return
        if entry is None:
            entry = await self._set_aside()
        elif new_name == metadata_file.NAME:
            await self._save(entry)
        if replaced is not None:
            self._drop(replaced)
        self.context.index.move(entry.ino, self.ino, new_name)

    async def _set_aside(self) -> Entry:
        """Make metadata.json a backup with its text; the name shows the record as before."""
        await self.context.check_metadata_writable(self._handle)
        entry = self.context.allot(self.ino, metadata_file.NAME)
        self._scratch.put(entry.ino, await self._metadata().read())
        return entry

    async def _save(self, entry: Entry) -> None:
        """Save a scratch file as the metadata."""
        text = self._scratch.get(entry.ino)
        await self.context.edits.save(self._handle, b"" if text is None else bytes(text))
        self._scratch.drop(entry.ino)

    def _drop(self, entry: Entry) -> None:
        self._scratch.drop(entry.ino)
        self.context.index.remove(entry.ino)

    def _scratch_entry(self, name: str) -> Entry | None:
        entry = self.context.index.child(self.ino, name)
        return entry if entry is not None and self._scratch.get(entry.ino) is not None else None

    def _metadata(self) -> MetadataFile:
        entry = self.context.allot(self.ino, metadata_file.NAME)
        return MetadataFile(self.context, entry.ino, self._handle)


def dataset_attributes(context: Context, ino: int, updated: int) -> Attributes:
    """What stat shows of a dataset's directory; `updated` in seconds since the epoch."""
    timeout = context.catalog.list_timeout
    return Attributes(ino, DatasetDirectory.mode, mtime=float(updated), timeout=timeout)


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

    async def age(self) -> tuple[float, float]:
        dataset = await self._context.catalog.dataset(self._handle)
        return float(dataset.record.updated_timestamp), self._context.timeout(dataset.fetched_at)


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

    async def listing(self) -> Listing:
        return await self.snapshot(_PROVENA_NAMES)
