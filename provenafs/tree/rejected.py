"""`.provena/rejected/`: rejected metadata, as it was written."""

from __future__ import annotations

import errno

from provenafs.catalog.rejected import RejectedText
from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document
from provenafs.tree.node import DirectoryHandle, Node


class RejectedDirectory(VirtualDirectory):
    """The kept texts of one dataset, called by the time."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle

    def child(self, entry: Entry) -> Node:
        return _RejectedFile(self.context, entry, self._handle)

    async def lookup(self, name: str) -> Node:
        if name not in await self._names():
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot(await self._names())

    async def _names(self) -> list[str]:
        return [text.name for text in await self.context.edits.rejected.texts(self._handle)]


class _RejectedFile(Document):
    def __init__(self, context: Context, entry: Entry, handle: str) -> None:
        super().__init__(entry.ino)
        self._rejected = context.edits.rejected
        self._name = entry.name
        self._handle = handle

    async def content(self) -> bytes:
        try:
            return await self._rejected.read(self._handle, self._name)
        except OSError:
            raise FSError(errno.ESTALE) from None

    async def age(self) -> tuple[int, float]:
        return (await self._text()).mtime_ns, 0.0

    async def _text(self) -> RejectedText:
        for text in await self._rejected.texts(self._handle):
            if text.name == self._name:
                return text
        raise FSError(errno.ESTALE)
