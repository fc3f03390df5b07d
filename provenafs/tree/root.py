"""The root of the mount, and the directories of links beside the datasets: by-name, search."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Sequence
from functools import partial

from provenafs.content.listing.index import ROOT_INO, Entry
from provenafs.errors import FSError
from provenafs.provena.handles import is_usual
from provenafs.tree.context import Context
from provenafs.tree.dataset import DatasetDirectory, dataset_attributes
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document, Link, LiveLink
from provenafs.tree.mint import MintDirectory
from provenafs.tree.mount_info import MountInfo
from provenafs.tree.names import MAX_NAME_BYTES, directory_name, escape, handle_of
from provenafs.tree.node import Attributes, DirectoryHandle, Node, Snapshot

_RANKED = re.compile(r"[0-9]{2,} .* \[(?P<directory>.+)\]")


class Root(VirtualDirectory):
    """One directory per dataset, and a few of the mount's own."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, ROOT_INO)

    def child(self, entry: Entry) -> Node:
        match entry.name:
            case "by-name":
                return ByName(self.context, entry.ino)
            case "mint":
                return MintDirectory(self.context, entry.ino)
            case "search":
                return SearchRoot(self.context, entry.ino)
            case ".provenafs":
                return MountInfo(self.context, entry.ino)
        handle = handle_of(entry.name)
        if handle is None:
            raise FSError(errno.ESTALE)
        return DatasetDirectory(self.context, entry.ino, handle)

    async def lookup(self, name: str) -> Node:
        if name not in _FIXED:
            handle = handle_of(name)
            catalog = self.context.catalog
            if handle is None or not (is_usual(handle) or await catalog.is_known(handle)):
                raise FSError(errno.ENOENT)
            await catalog.record(handle)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        datasets = await self.context.catalog.datasets()
        updated = {directory_name(summary.handle): summary.updated for summary in datasets}
        shown = await self.entries(_FIXED)
        # From the list alone: what is wrong with one dataset must not hide the others.
        for name in sorted(updated):
            entry = self.context.get_or_create(self.ino, name)
            shown.append((name, dataset_attributes(self.context, entry.ino, updated[name])))
        return _RootListing(self.context, shown)

    async def mkdir(self, name: str) -> Node:
        raise FSError(errno.EPERM, "datasets are not made with mkdir: use mint/")


_FIXED = (".provenafs", "by-name", "mint", "search")


class _RootListing(Snapshot):
    """The open root; its fsync is that of the whole mount."""

    def __init__(self, context: Context, entries: Sequence[tuple[str, Attributes]]) -> None:
        super().__init__(entries)
        self._context = context

    async def sync(self) -> None:
        await self._context.store.sync()


class ByName(VirtualDirectory):
    """Links to the datasets, called by their display names; they follow a rename within the TTL."""

    def child(self, entry: Entry) -> Node:
        return LiveLink(entry.ino, partial(self._link, entry))

    async def lookup(self, name: str) -> Node:
        if name.startswith(".") or name not in await self.context.by_name():
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot(sorted(await self.context.by_name()))

    async def _link(self, entry: Entry) -> Link:
        names = await self.context.by_name()
        if entry.name not in names:
            raise FSError(errno.ESTALE)
        target = f"../{directory_name(names[entry.name])}"
        return Link(entry.ino, target, self.context.started_ns, self.context.catalog.list_timeout)


class SearchRoot(VirtualDirectory):
    """Every name looked up here is a query; nothing is listed."""

    def child(self, entry: Entry) -> Node:
        return SearchResults(self.context, entry)

    async def lookup(self, name: str) -> Node:
        if name.startswith("."):
            raise FSError(errno.ENOENT)
        if len(name.encode()) > MAX_NAME_BYTES:
            raise FSError(errno.ENAMETOOLONG)
        await self.context.search(name)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot([])


class SearchResults(VirtualDirectory):
    """Links to what a query found, in rank order, and results.json with the scores."""

    def __init__(self, context: Context, entry: Entry) -> None:
        super().__init__(context, entry.ino)
        self._query = entry.name
        self.timeout = context.catalog.ttl

    def child(self, entry: Entry) -> Node:
        if entry.name == "results.json":
            return _ResultsFile(self.context, entry.ino, self._query)
        match = _RANKED.fullmatch(entry.name)
        if match is None:
            raise FSError(errno.ESTALE)
        target = f"../../{match['directory']}"
        return Link(entry.ino, target, self.context.started_ns, self.timeout)

    async def lookup(self, name: str) -> Node:
        if name not in await self._names():
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot(await self._names())

    async def _names(self) -> list[str]:
        names = await _display_names(self.context)
        hits = await self.context.search(self._query)
        # The search does not look at access: what this user cannot see has no link.
        links = [
            escape(f"{rank:02} {names[hit.id]}", f" [{directory_name(hit.id)}]")
            for rank, hit in enumerate(hits, start=1)
            if hit.id in names
        ]
        return [*(link for link in links if len(link.encode()) <= MAX_NAME_BYTES), "results.json"]


class _ResultsFile(Document):
    """The hits of a query with names, of those this user can see, and scores, best first."""

    def __init__(self, context: Context, ino: int, query: str) -> None:
        super().__init__(ino)
        self._context = context
        self._query = query

    async def content(self) -> bytes:
        hits = await self._context.search(self._query)
        names = await _display_names(self._context)
        results = [{"id": hit.id, "name": names.get(hit.id), "score": hit.score} for hit in hits]
        document = {"query": self._query, "results": results}
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"

    async def age(self) -> tuple[int, float]:
        return self._context.started_ns, 0.0


async def _display_names(context: Context) -> dict[str, str]:
    """The display names of the datasets that this user can see, by handle."""
    return {summary.handle: summary.display_name for summary in await context.catalog.datasets()}
