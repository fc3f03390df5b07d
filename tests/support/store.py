"""The write side of a mount without the mount: files of one dataset, driven by path."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from provenafs.content.claims import Name
from provenafs.content.content import ContentOptions, open_content
from provenafs.content.drive import Drive
from provenafs.content.journal import Journal, new_intent
from provenafs.content.journal_schema import Action, Intent
from provenafs.content.listing.index import ROOT_INO, Entry
from provenafs.content.recovery import Recovery
from provenafs.content.store import Store as MountStore
from provenafs.content.store import StoreOptions
from provenafs.content.store import open_store as open_mount_store
from provenafs.content.volume import Volume
from provenafs.content.writing.open_files import FileHandle
from provenafs.errors import FSError
from provenafs.s3.writing import ObjectWriter
from tests.support.memory_bucket import MemoryBucket, MemoryServer
from tests.support.moto_bucket import BUCKET, RecordingBucket

MIB = 1024 * 1024


class Store:
    """Operations on one dataset as the kernel would ask for them."""

    def __init__(
        self, store: MountStore, bucket: RecordingBucket | MemoryBucket, prefix: str
    ) -> None:
        self.store = store
        self.files, self.index, self.journal = store.files, store.index, store.journal
        self.area = store.area
        self.attribute_updates = store.attribute_updates
        self.deferred_deletes = store.deferred_deletes
        self.bucket = bucket
        self.prefix = prefix
        self.refusal: FSError | None = None
        self.failures: list[Exception] = []
        self.top = store.index.get_or_create(ROOT_INO, "data")
        self.drive = Drive(store.content, bucket, self.top, prefix)
        self.volume = Volume(self.drive, ObjectWriter(bucket), "10.1/2", self._may_write)
        self.changes = store.changes

    async def _may_write(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def entry(self, path: str) -> Entry:
        """The entry at a path; FSError(ENOENT)."""
        entry = self.top
        for name in filter(None, path.split("/")):
            found = await self.drive.lookup(entry, name)
            if found is None:
                raise FSError(2)
            entry = found
        return entry

    async def _parent(self, path: str) -> tuple[Entry, str]:
        folder, _, name = path.rpartition("/")
        return await self.entry(folder), name

    async def open(self, path: str, flags: int = os.O_RDWR) -> FileHandle:
        """As open(2) through the kernel: a missing file is created when O_CREAT says so."""
        parent, name = await self._parent(path)
        if flags & os.O_CREAT:
            return (await self.changes.create(self.volume, parent, name, flags))[1]
        return await self.changes.open(self.volume, await self.entry(path), flags)

    async def write(self, path: str, data: bytes, piece: int = 128 * 1024) -> None:
        """Make or replace a file, as cp does."""
        handle = await self.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        try:
            for offset in range(0, len(data), piece):
                await handle.write(offset, data[offset : offset + piece])
            await handle.flush()
        finally:
            await handle.release()

    async def read(self, path: str) -> bytes:
        """All bytes of a file, through the mount."""
        handle = await self.open(path, os.O_RDONLY)
        try:
            data = bytearray()
            while piece := await handle.read(len(data), MIB):
                data += piece
            return bytes(data)
        finally:
            await handle.release()

    async def names(self, path: str = "") -> list[str]:
        """What a directory shows."""
        directory = await self.drive.refresh(await self.entry(path))
        return sorted(entry.name for entry in self.files.index.children(directory.ino))

    async def mkdir(self, path: str) -> None:
        await self.changes.mkdir(self.volume, *await self._parent(path))

    async def rmdir(self, path: str) -> None:
        await self.changes.rmdir(self.volume, *await self._parent(path))

    async def unlink(self, path: str) -> None:
        await self.changes.unlink(self.volume, *await self._parent(path))

    async def rename(self, path: str, new_path: str, *, replace: bool = True) -> None:
        await self.changes.rename(
            self.volume,
            Name(*await self._parent(path)),
            Name(*await self._parent(new_path)),
            replace=replace,
        )

    async def truncate(self, path: str, size: int) -> None:
        await self.changes.truncate(self.volume, await self.entry(path), size)

    async def set_mtime(self, path: str, mtime: float) -> None:
        entry = await self.entry(path)
        await self.files.set_attributes(self.volume, entry, int(mtime * 1e9), None)

    def requests(self, method: str = "") -> list[str]:
        """The changing requests sent so far, without the bucket's address."""
        sent = [line for line, _ in self.bucket.sent if not line.startswith(("GET", "HEAD"))]
        return [line for line in sent if line.startswith(method)]


@asynccontextmanager
async def open_store(
    server: MemoryServer | str,
    prefix: str,
    folder: Path,
    *,
    writeback: bool = False,
    staging_size: int = 1024 * MIB,
    io_timeout: float = 10.0,
    ttl: float = 3600.0,
    asks_objects: bool = False,
    rename_limit: int = 50,
) -> AsyncIterator[Store]:
    """A store over the bucket of a server, or at an address; cache and state are in `folder`."""
    bucket = (
        RecordingBucket(server, io_timeout)
        if isinstance(server, str)
        else MemoryBucket(server, io_timeout)
    )
    failures: list[Exception] = []
    async with (
        open_content(
            folder / "cache",
            bucket.service,
            ContentOptions(ttl, asks_objects=asks_objects),
            lambda _: None,
        ) as content,
        open_mount_store(
            content,
            StoreOptions(folder / "state", staging_size, writeback, rename_limit),
            lambda ino, error: failures.append(error),
        ) as mount_store,
    ):
        store = Store(mount_store, bucket, prefix)
        store.failures = failures
        yield store


@asynccontextmanager
async def recovering(
    server: MemoryServer | str, prefix: str, folder: Path, **options: Any
) -> AsyncIterator[tuple[Store, Recovery]]:
    """A store that has taken over what earlier ones left, and its recovery."""
    async with open_store(server, prefix, folder, **options) as store:

        async def volume_of(dataset: str) -> Volume:
            return store.volume

        recovery = Recovery(store.store, volume_of)
        await recovery.adopt()
        yield store, recovery


def make_intent(journal: Journal, action: Action, dataset: str, key: str, **details: Any) -> Intent:
    """An intent of this journal, not yet written."""
    return replace(new_intent(journal, action, dataset, key), **details)


async def hold_uploads(store: Store) -> Callable[[], None]:
    """Take all threads that send; returns what gives them back."""
    uploads = store.bucket.service.uploads
    holders = [object() for _ in range(int(uploads.total_tokens))]
    for holder in holders:
        await uploads.acquire_on_behalf_of(holder)

    def let_go() -> None:
        for holder in holders:
            uploads.release_on_behalf_of(holder)

    return let_go


def objects(client: Any, prefix: str) -> dict[str, bytes]:
    """What the bucket holds below a prefix, seen by another client."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {
        item["Key"][len(prefix) :]: client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        for page in pages
        for item in page.get("Contents", [])
    }
