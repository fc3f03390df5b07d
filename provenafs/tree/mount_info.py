"""`.provenafs/`: the mount about itself."""

from __future__ import annotations

import dataclasses
import errno
import json

from provenafs.content.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import LiveDocument
from provenafs.tree.node import Listing, Node


class MountInfo(VirtualDirectory):
    """Live files about this mount."""

    def child(self, entry: Entry) -> Node:
        document = _DOCUMENTS.get(entry.name)
        if document is None:
            raise FSError(errno.ESTALE)
        return document(self.context, entry.ino)

    async def lookup(self, name: str) -> Node:
        if name not in _DOCUMENTS:
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> Listing:
        return await self.snapshot(list(_DOCUMENTS))


class _LiveJson(LiveDocument):
    """A JSON document about the mount, as of when it is opened."""

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self.context = context

    def document(self) -> object:
        """What the file says."""
        raise NotImplementedError

    async def content(self) -> bytes:
        return json.dumps(self.document(), indent=2).encode() + b"\n"


class _StatusFile(_LiveJson):
    """What is mounted, since when, and how it is doing."""

    def document(self) -> object:
        return self.context.status()


class _PendingFile(_LiveJson):
    """What was written and is not stored yet; sizes in bytes."""

    def document(self) -> object:
        return [dataclasses.asdict(transfer) for transfer in self.context.files.transfers()]


_DOCUMENTS = {"pending.json": _PendingFile, "status.json": _StatusFile}
