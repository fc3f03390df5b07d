"""`metadata.json`: shows the record's CollectionFormat; saving it changes the record."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from provenafs.catalog import documents
from provenafs.catalog.dataset import Dataset
from provenafs.tree.context import Context
from provenafs.tree.documents import is_write, text_xattrs
from provenafs.tree.draft import DraftHandle
from provenafs.tree.node import Attributes, BytesHandle, Handle, Node

NAME = "metadata.json"


class MetadataFile(Node):
    """The CollectionFormat as the registry holds it; while it is written, what is written."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(ino)
        self._context = context
        self._edits = context.edits
        self._handle = handle

    async def attributes(self) -> Attributes:
        dataset = await self._context.catalog.dataset(self._handle)
        mode = stat.S_IFREG | (0o644 if dataset.may_write_metadata else 0o444)
        draft = self._edits.draft(self.ino)
        if draft is not None:
            return Attributes(self.ino, mode, len(draft.text), draft.text.mtime_ns)
        mtime_ns = dataset.record.updated_timestamp * 10**9
        timeout = self._context.timeout(dataset.fetched_at)
        return Attributes(self.ino, mode, len(_content(dataset)), mtime_ns, timeout)

    async def xattrs(self) -> Mapping[str, bytes]:
        return text_xattrs({"reason": self._edits.reason(self._handle)})

    async def set_xattr(self, name: str, value: bytes) -> None:
        """`user.provena.reason`: why the next save is made."""
        if name != "user.provena.reason":
            await super().set_xattr(name, value)
        await self._context.check_metadata_writable(self._handle)
        self._edits.set_reason(self._handle, value)

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        """A cut without an open handle is a save of its own; to nothing, it waits for a text."""
        await self._context.check_metadata_writable(self._handle)
        if size is None:
            return
        if isinstance(handle, DraftHandle):
            handle.draft.truncate(size)
            return
        alone = await self._open_draft()
        try:
            await alone.draft.cut(size)
        finally:
            await alone.release()

    async def open(self, flags: int) -> Handle:
        if is_write(flags):
            await self._context.check_metadata_writable(self._handle)
            handle = await self._open_draft()
            if flags & os.O_TRUNC:
                handle.draft.truncate(0)
            return handle
        draft = self._edits.draft(self.ino)
        return BytesHandle(await self.read() if draft is None else bytes(draft.text))

    async def read(self) -> bytes:
        """The metadata as stored, noted as read."""
        dataset = await self._context.catalog.dataset(self._handle)
        self._edits.note_read(dataset.record)
        return _content(dataset)

    async def _open_draft(self) -> DraftHandle:
        dataset = await self._context.catalog.dataset(self._handle)
        return self._edits.open_draft(self.ino, self._handle, _content(dataset))


def _content(dataset: Dataset) -> bytes:
    return documents.metadata_json(dataset.record.collection_format)
