"""The object tree of one dataset: directories listed as they are used, objects opened."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import trio

from provenafs.content.cache.block_cache import object_id
from provenafs.content.content import Content
from provenafs.content.listing.index import Entry, Invalidation
from provenafs.content.listing.keys import UnrepresentableKey
from provenafs.content.listing.list_ahead import ListAhead
from provenafs.content.listing.listing import ListingScope, ListRequest
from provenafs.content.listing.object_attributes import ObjectAttributes
from provenafs.content.object_version import ObjectVersion
from provenafs.content.reading.directory_prefetch import DirectoryPrefetch
from provenafs.content.reading.object_reads import ObjectReads
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.reader import Reader
from provenafs.content.reading.sibling_ranges import SiblingRanges
from provenafs.errors import FSError, Transient
from provenafs.s3.api import BucketApi
from provenafs.s3.errors import Unavailable
from provenafs.s3.types import ObjectInfo

# The server's own copy of the metadata, at the top of every dataset.
_SERVER_METADATA = "metadata.json"
# Write credentials issued before a release last for eight hours; then nothing changes any more
# but by an administrator's hand.
_CREDENTIALS_LAST_S = 8 * 3600.0
_RELEASED_TTL_S = 3600.0
# After a failure to list, what is known is shown at once for so long, however old.
_DOWN_S = 30.0
_COMPARED = 1024 * 1024  # bytes at a time

_T = TypeVar("_T")

log = logging.getLogger(__name__)


class Drive:
    """Entries below `root` in the index, and the keys below `prefix` in the bucket."""

    def __init__(self, content: Content, bucket: BucketApi, root: Entry, prefix: str) -> None:
        """`prefix` ends in a slash; `root` is the entry that stands for it.

        `attributes` are those that the objects carry, where they are asked for.

        `released_at` is to be set, in seconds since the epoch, once the dataset is released.
        """
        self.bucket = bucket
        self.prefix = prefix
        self._content = content
        self._index = content.index
        self._root = root
        self._directory_prefetch = DirectoryPrefetch(
            content.index, self._source_ahead, content.memory, content.nursery
        )
        self._sibling_ranges = SiblingRanges(
            content.index, self._opened_ahead, content.memory, content.nursery
        )
        self.attributes = (
            ObjectAttributes(content.index, bucket, self.key) if content.asks_objects else None
        )
        self.released_at: float | None = None
        self._down_until = -math.inf
        self._tree = ListingScope(
            content.index,
            bucket,
            content.nursery,
            root.ino,
            prefix,
            self._is_hidden,
            content.changed,
            {},
            self._follow,
        )
        self._walker = ListAhead(self._tree)
        self._listings: dict[int, ListRequest] = {}

    def key(self, entry: Entry) -> str:
        """The key of an entry's object; of a directory, its prefix without the final slash.

        ESTALE where a directory above it is gone.
        """
        names: list[str] = []
        while entry.ino != self._root.ino:
            names.append(entry.name)
            parent = self._index.get(entry.parent)
            if parent is None:
                raise FSError(errno.ESTALE, f"the directory of {entry.name} is gone")
            entry = parent
        return self.prefix + "/".join(reversed(names))

    def invalidate(self, entry: Entry) -> None:
        """An entry was found out of date: the next use of its name, also the kernel's, lists."""
        self._index.expire(entry.parent)
        self._content.changed([Invalidation(entry.parent, entry.name, entry.ino)])

    def expire(self, key: str) -> int:
        """Make the next use of the directory of a key list it again; its inode number."""
        directory, _ = self._known_part(key)
        self._index.expire(directory.ino)
        return directory.ino

    def deleted(self, key: str) -> None:
        """An object is gone, some time after its name: a LIST under way may still show it."""
        directory, names = self._known_part(key)
        if len(names) == 1:
            self._index.note_removal(directory.ino, names[0])

    def _known_part(self, key: str) -> tuple[Entry, list[str]]:
        """The last directory above a key that is known, and the names from there on."""
        directory = self._root
        names = key.removeprefix(self.prefix).split("/")
        while len(names) > 1 and (child := self._index.child(directory.ino, names[0])):
            directory = child
            del names[0]
        return directory, names

    @property
    def ttl(self) -> float:
        """For how many seconds a listing is trusted; longer once nobody can write any more."""
        released_at = self.released_at
        if released_at is None or time.time() - released_at < _CREDENTIALS_LAST_S:
            return self._content.ttl
        return self._content.ttl and max(self._content.ttl, _RELEASED_TTL_S)

    @property
    def unfit(self) -> list[UnrepresentableKey]:
        """The keys that cannot be shown, of the directories listed so far."""
        return [unfit for found in self._tree.unfit.values() for unfit in found]

    async def refresh(self, directory: Entry) -> Entry:
        """The directory, about to be read, with children no older than the TTL.

        Raises S3Error.
        """
        current = self._index.get(directory.ino) or directory
        prefix = self._prefix_of(current)
        if self._is_fresh(current):
            self._walker.passed(prefix)
            return current
        if self.ttl and directory.ino not in self._listings:
            await self._walker.has_listed(prefix)
            current = self._index.get(directory.ino) or current
        if not self._is_fresh(current):
            with self._old_if_down(current):
                await self._listed(current, prefix, ListRequest.finished)
        return self._index.get(directory.ino) or current

    async def lookup(self, directory: Entry, name: str) -> Entry | None:
        """The child called `name`, as of a listing no older than the TTL. Raises S3Error."""
        current = self._index.get(directory.ino) or directory
        if self._is_fresh(current):
            return self._index.child(directory.ino, name)
        prefix = self._prefix_of(current)
        if (
            self.ttl
            and directory.ino not in self._listings
            and await self._walker.has_found(prefix)
        ):
            current = self._index.get(directory.ino) or current
            if self._is_fresh(current):
                return self._index.child(directory.ino, name)
        with self._old_if_down(current):
            return await self._listed(current, prefix, lambda listing: listing.child(name))
        return self._index.child(directory.ino, name)

    @contextmanager
    def _old_if_down(self, directory: Entry) -> Iterator[None]:
        """While the bucket cannot be reached, what is known of a directory has to do."""
        try:
            yield
        except (Unavailable, Transient) as error:
            self._down_until = trio.current_time() + _DOWN_S
            if not directory.listed_at or not self.ttl:
                raise
            log.warning("%s: showing what was listed before: %s", self.key(directory), error)

    async def _listed(
        self, directory: Entry, prefix: str, ask: Callable[[ListRequest], Awaitable[_T]]
    ) -> _T:
        """Ask a listing that is no older than the TTL, or began after we were asked."""
        under_way = self._listings.get(directory.ino)
        if under_way is not None:
            answer = await ask(under_way)
            current = self._index.get(directory.ino)
            if self.ttl or (current is not None and self._is_fresh(current)):
                return answer
        listing = self._listings.get(directory.ino)
        if listing is None or listing is under_way:
            listing = self._listings[directory.ino] = ListRequest(self._tree, directory.ino, prefix)
            self._content.nursery.start_soon(self._list, directory.ino, listing)
        return await ask(listing)

    async def _list(self, ino: int, listing: ListRequest) -> None:
        try:
            await listing.run()
        finally:
            if self._listings.get(ino) is listing:
                del self._listings[ino]

    def _prefix_of(self, directory: Entry) -> str:
        return self.key(directory).rstrip("/") + "/"

    def read(self, version: ObjectVersion, is_lost: Callable[[], bool] = lambda: False) -> Reader:
        """Read an object version that may have no entry any more; as open."""
        source = ObjectSource(self.bucket, version, lambda: None, self._content.blocks, is_lost)
        reads = self._content.reads.of(source)
        return Reader(source, self._content.memory, self._content.nursery, reads=reads)

    def open(self, entry: Entry, is_lost: Callable[[], bool]) -> Reader:
        """Read an object; `is_lost` returns whether this mount has replaced or deleted it."""
        source = self._source(entry, is_lost)
        reads = self._content.reads.of(source)
        self._sibling_ranges.open(entry, reads)
        return Reader(
            source,
            self._content.memory,
            self._content.nursery,
            lambda: self._directory_prefetch.first_read(entry),
            reads,
        )

    async def _follow(self, objects: Sequence[ObjectInfo]) -> None:
        if self._content.follow is not None:
            await self._content.follow(objects)

    def is_whole(self, version: ObjectVersion) -> bool:
        """Whether the block cache has all of an object version."""
        name = object_id(self.bucket.name, version.key, version.etag or "")
        return self._content.blocks.cached_bytes(name) >= version.size

    async def is_longer(self, version: ObjectVersion, new: ObjectInfo) -> bool:
        """Whether a new version begins with all bytes of a cached one; it is cached as well.

        PreconditionFailed if the object is another again; raises S3Error.
        """
        blocks, bucket = self._content.blocks, self.bucket
        key, size, etags = version.key, version.size, (version.etag or "", new.etag)
        old_id, new_id = (object_id(bucket.name, key, each) for each in etags)
        for start in range(0, new.size, _COMPARED):
            end = min(start + _COMPARED, new.size)
            data = await bucket.read_range(key, start, end - start, new.etag, size=new.size)
            if start < size:
                old = await blocks.read(old_id, start, min(end, size))
                if old is None or bytes(old) != bytes(data[: len(old)]):
                    return False
            await blocks.store(new_id, start, data)
        return True

    def cached_bytes(self, entry: Entry) -> int:
        """How many bytes of an object are in the block cache."""
        return self._content.blocks.cached_bytes(self._object_id(entry))

    def is_pinned(self, entry: Entry) -> bool:
        """Whether an object stays in the block cache however full it gets."""
        return self._content.blocks.is_pinned(self._object_id(entry))

    async def pin(self, entry: Entry) -> None:
        """Keep this version of an object, and none before it, in the block cache."""
        await self._content.blocks.pin(self._path_id(entry), self._object_id(entry))

    async def unpin(self, entry: Entry) -> None:
        """Let an object be evicted again."""
        await self._content.blocks.unpin(self._path_id(entry))

    async def evict(self, entry: Entry) -> None:
        """Remove an object from the block cache; it is not pinned any more."""
        await self.unpin(entry)
        await self._content.blocks.evict(self._object_id(entry))

    def _path_id(self, entry: Entry) -> bytes:
        return object_id(self.bucket.name, self.key(entry), "")

    def _object_id(self, entry: Entry) -> bytes:
        return object_id(self.bucket.name, self.key(entry), entry.etag or "")

    def _source(self, entry: Entry, is_lost: Callable[[], bool] = lambda: False) -> ObjectSource:
        return ObjectSource(
            self.bucket,
            ObjectVersion(self.key(entry), entry.etag, entry.size),
            lambda: self.invalidate(entry),
            self._content.blocks,
            is_lost,
        )

    def _source_ahead(self, entry: Entry) -> ObjectSource | None:
        """The source of an entry whose bytes are not all on disk."""
        try:
            source = self._source(entry)
        except FSError:  # its directory is gone
            return None
        return source if source.cached_bytes < entry.size else None

    def _opened_ahead(self, entry: Entry) -> tuple[ObjectSource, ObjectReads] | None:
        """What is read of an entry before it is opened; None if its directory is gone."""
        try:
            source = self._source(entry)
        except FSError:
            return None
        return source, self._content.reads.of(source)

    def _is_fresh(self, directory: Entry) -> bool:
        if directory.listed_at and self.ttl and trio.current_time() < self._down_until:
            return True
        return 0 <= time.time() - directory.listed_at < self.ttl

    def _is_hidden(self, key: str) -> bool:
        return key in self._content.hidden or key == self.prefix + _SERVER_METADATA
