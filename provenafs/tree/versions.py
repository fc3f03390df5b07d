"""`versions/`: the version chain as links, and the history of the record."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from functools import partial

from provenafs.catalog import documents
from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.provena.records import HistoryEntry
from provenafs.tree import version_maker
from provenafs.tree.context import Context
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document, Link, LiveLink, text_xattrs
from provenafs.tree.names import directory_name
from provenafs.tree.node import DirectoryHandle, Node
from provenafs.tree.version_maker import VersionMaker

_FIXED = ("metadata", version_maker.NAME)
_HISTORY_FILE = re.compile(r"(?P<id>0|[1-9][0-9]*)\.json")


class VersionsDirectory(VirtualDirectory):
    """v1, v2 … as links to the datasets of the chain, latest, metadata/, and create, not listed."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle
        self.timeout = context.catalog.ttl

    def child(self, entry: Entry) -> Node:
        if entry.name == "metadata":
            return HistoryDirectory(self.context, entry.ino, self._handle)
        if entry.name == version_maker.NAME:
            return VersionMaker(self.context, entry.ino, self._handle)
        return LiveLink(entry.ino, partial(self._link, entry))

    async def links(self) -> dict[str, str]:
        """Link names with their targets, in version order, `latest` last."""
        chain = await self.context.catalog.versions(self._handle)
        links = {f"v{number}": f"../../{directory_name(handle)}" for number, handle in chain}
        links["latest"] = f"v{chain[-1][0]}"
        return links

    async def lookup(self, name: str) -> Node:
        if name not in _FIXED and name not in await self.links():
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot([*await self.links(), "metadata"])

    async def _link(self, entry: Entry) -> Link:
        target = (await self.links()).get(entry.name)
        if target is None:
            raise FSError(errno.ESTALE)
        return Link(entry.ino, target, self.context.started_ns, self.timeout)


class HistoryDirectory(VirtualDirectory):
    """`versions/metadata/`: the record's history, each file called by the entry's id."""

    def __init__(self, context: Context, ino: int, handle: str) -> None:
        super().__init__(context, ino)
        self._handle = handle
        self.timeout = context.catalog.ttl

    def child(self, entry: Entry) -> Node:
        match = _HISTORY_FILE.fullmatch(entry.name)
        if match is None:
            raise FSError(errno.ESTALE)
        return HistoryFile(self.context, entry.ino, self._handle, int(match["id"]))

    async def lookup(self, name: str) -> Node:
        if name not in await self._names():
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot(await self._names())

    async def _names(self) -> list[str]:
        dataset = await self.context.catalog.dataset(self._handle)
        return [f"{number}.json" for number in sorted(e.id for e in dataset.record.history)]


class HistoryFile(Document):
    """The CollectionFormat as one history entry froze it; who and why are xattrs."""

    def __init__(self, context: Context, ino: int, handle: str, entry_id: int) -> None:
        super().__init__(ino)
        self._context = context
        self._handle = handle
        self._entry_id = entry_id

    async def _entry(self) -> HistoryEntry:
        dataset = await self._context.catalog.dataset(self._handle)
        for entry in dataset.record.history:
            if entry.id == self._entry_id:
                return entry
        raise FSError(errno.ESTALE)

    async def content(self) -> bytes:
        return documents.metadata_json((await self._entry()).collection_format)

    async def age(self) -> tuple[int, float]:
        return (await self._entry()).timestamp * 10**9, self._context.catalog.ttl

    async def xattrs(self) -> Mapping[str, bytes]:
        entry = await self._entry()
        return text_xattrs({"username": entry.username, "reason": entry.reason})
