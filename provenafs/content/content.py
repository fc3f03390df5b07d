"""State shared by the datasets of one mount: index, S3 context, TTL."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from provenafs import private
from provenafs.content.cache.block_cache import BlockCache
from provenafs.content.listing.index import ROOT_INO, Index, Invalidation, Kind
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.object_reads import ObjectReads, ReadObjects
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.whole_fetch import WholeFetches
from provenafs.guard import Background
from provenafs.s3.calls import S3Context
from provenafs.s3.types import ObjectInfo

log = logging.getLogger(__name__)

_IN_USE = (
    b"in use\n"  # in the lock file until an index is closed: found by the next one after a kill
)
_SLOTS = 64
_MEMORY = 128 * 1024**2
_CACHE_SIZE = 10 * 1024**3


@dataclass
class Content:
    """Shared by all drives; `nursery` owns their background tasks.

    `changed` is called with entries that vanished or were replaced, for the kernel to forget.
    `hidden` are keys of objects whose names were removed here, and which are still to be deleted.
    `asks_objects`: times and modes are those that the objects carry.
    `follow` is called with each page of a LIST before it is merged, and may change the entries of
    open files.
    """

    index: Index
    s3: S3Context
    ttl: float
    changed: Callable[[Sequence[Invalidation]], None]
    nursery: Background
    memory: ReadAheadBudget
    blocks: BlockCache
    whole: WholeFetches
    reads: ReadObjects
    hidden: set[str] = field(default_factory=set, kw_only=True)
    asks_objects: bool = field(default=False, kw_only=True)
    follow: Callable[[Sequence[ObjectInfo]], Awaitable[None]] | None = field(
        default=None, kw_only=True
    )

    def forget(self, *path: str, below: int = ROOT_INO) -> None:
        """Let the kernel forget what it knows of a virtual name, or that there was none."""
        parent, ino = 0, below
        for name in path:
            parent, ino = ino, self.index.get_or_create(ino, name, Kind.VIRTUAL).ino
        self.changed([Invalidation(parent, path[-1], ino)])


@dataclass(frozen=True, slots=True)
class ContentOptions:
    """How a mount reads. `ttl`: how long a listing is fresh, in seconds.

    `memory` is in bytes, for all that is read ahead together; `cache_size` in bytes on disk.
    With `asks_objects` each object version is looked at once for its time and mode; with
    `fetch_whole` objects are cached whole once their ranges have cost as much.
    """

    ttl: float
    memory: int = _MEMORY
    cache_size: int = _CACHE_SIZE
    asks_objects: bool = False
    fetch_whole: bool = True


@asynccontextmanager
async def open_content(
    cache_dir: Path,
    s3: S3Context,
    options: ContentOptions,
    changed: Callable[[Sequence[Invalidation]], None],
) -> AsyncIterator[Content]:
    """The content of a mount, with its index in `cache_dir`; ends its background tasks."""
    slot, index = _open_index(cache_dir)
    blocks = BlockCache(cache_dir, s3.buffers, options.cache_size)
    try:
        async with trio.open_nursery() as nursery:
            background = Background(nursery)
            budget = ReadAheadBudget(options.memory, lambda: s3.download_lanes.limit)
            background.start_soon(blocks.tend)
            whole = WholeFetches(blocks, s3, budget, background)
            reads = ReadObjects(whole.waited_for if options.fetch_whole else _never)
            yield Content(
                index, s3, options.ttl, changed, background, budget, blocks, whole, reads,
                asks_objects=options.asks_objects,
            )  # fmt: skip
            nursery.cancel_scope.cancel()
    finally:
        blocks.close()
        index.close()
        if slot is not None:
            os.ftruncate(slot, 0)
            os.close(slot)


def _never(source: ObjectSource, reads: ObjectReads) -> None:
    """Fetch no object whole, however long its readers wait."""


def _open_index(cache_dir: Path) -> tuple[int | None, Index]:
    """The first index no other mount uses, held by a lock; one in memory if the disk refuses."""
    try:
        private.folder(cache_dir)
        for number in range(_SLOTS):
            try:
                lock = private.open_locked(cache_dir / f"index-{number}.lock")
            except BlockingIOError:
                continue
            path = cache_dir / f"index-{number}.sqlite"
            private.prepare_database(path)
            index = Index(path)
            if os.pread(lock, 1, 0):
                index.expire_all()
            os.pwrite(lock, _IN_USE, 0)
            return lock, index
    except OSError as error:
        log.warning("%s cannot be used, nothing is cached on disk: %s", cache_dir, error)
    return None, Index(None)
