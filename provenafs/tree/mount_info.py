"""`.provenafs/`: the mount about itself."""

from __future__ import annotations

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
        if entry.name != "status.json":
            raise FSError(errno.ESTALE)
        return _StatusFile(self.context, entry.ino)

    async def lookup(self, name: str) -> Node:
        if name != "status.json":
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> Listing:
        return await self.snapshot(["status.json"])


class _StatusFile(LiveDocument):
    """What is mounted, since when, and how it is doing."""

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self._context = context

    async def content(self) -> bytes:
        return json.dumps(self._context.status(), indent=2).encode() + b"\n"
