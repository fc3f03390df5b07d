"""The object tree of one dataset: directories listed as they are used, objects opened."""

from __future__ import annotations

import logging
import time
import weakref

import trio

from provenafs.content.content import Content
from provenafs.content.index import Entry, Listed
from provenafs.content.reader import Reader
from provenafs.content.siblings import Siblings
from provenafs.content.source import Source
from provenafs.s3.bucket import Bucket
from provenafs.s3.types import ListPage

log = logging.getLogger(__name__)

# The server's own copy of the metadata, at the top of every dataset.
_SERVER_METADATA = "metadata.json"
_MAX_NAME_BYTES = 255


class Drive:
    """Entries below `root` in the index, and the keys below `prefix` in the bucket."""

    def __init__(self, content: Content, bucket: Bucket, root: Entry, prefix: str) -> None:
        """`prefix` ends in a slash; `root` is the entry that stands for it."""
        self.bucket = bucket
        self.prefix = prefix
        self._content = content
        self._index = content.index
        self._root = root
        self._siblings = Siblings(
            content.index, self._source_ahead, content.memory, content.nursery
        )
        self._locks: weakref.WeakValueDictionary[int, trio.Lock] = weakref.WeakValueDictionary()

    def key(self, entry: Entry) -> str:
        """The key of an entry's object; of a directory, its prefix without the final slash."""
        names: list[str] = []
        while entry.ino != self._root.ino:
            names.append(entry.name)
            parent = self._index.get(entry.parent)
            if parent is None:
                break
            entry = parent
        return self.prefix + "/".join(reversed(names))

    async def refresh(self, directory: Entry) -> Entry:
        """The directory with children no older than the TTL: at most one listing for it."""
        lock = self._locks.setdefault(directory.ino, trio.Lock())
        async with lock:
            current = self._index.get(directory.ino) or directory
            if not self._is_fresh(current):
                await self._list(current)
                current = self._index.get(directory.ino) or current
            return current

    async def lookup(self, directory: Entry, name: str) -> Entry | None:
        """The child called `name`, as of a listing no older than the TTL."""
        await self.refresh(directory)
        return self._index.child(directory.ino, name)

    def open(self, entry: Entry) -> Reader:
        """Read an object."""
        return Reader(
            self._source(entry),
            self._content.memory,
            self._content.nursery,
            lambda: self._siblings.first_read(entry),
        )

    def cached_bytes(self, entry: Entry) -> int:
        """How many bytes of an object are in the block cache."""
        return self._source(entry).cached_bytes

    def _source(self, entry: Entry) -> Source:
        return Source(
            self.bucket,
            self.key(entry),
            entry.size,
            entry.etag or "",
            lambda: self._index.expire(entry.parent),
            self._content.blocks,
        )

    def _source_ahead(self, entry: Entry) -> Source | None:
        """The source of an entry whose bytes are not all on disk."""
        source = self._source(entry)
        return source if source.cached_bytes < entry.size else None

    def _is_fresh(self, directory: Entry) -> bool:
        return 0 <= time.time() - directory.listed_at < self._content.ttl

    async def _list(self, directory: Entry) -> None:
        prefix = self.key(directory).rstrip("/") + "/"
        stamp = self._index.begin_listing()
        started = time.time()
        try:
            token: str | None = None
            while True:
                page = await self.bucket.list(prefix, token=token)
                changes = self._index.merge(stamp, directory.ino, self._children(prefix, page))
                self._content.changed(changes)
                token = page.next_token
                if token is None:
                    break
            self._content.changed(self._index.finish_listing(stamp, directory.ino, started))
        finally:
            self._index.end_listing(stamp)

    def _children(self, prefix: str, page: ListPage) -> list[Listed]:
        """The children a page names: those a directory can hold, directories over files."""
        directories = [Listed(p[len(prefix) : -1]) for p in page.prefixes]
        taken = {item.name for item in directories}
        hidden = {self.prefix + _SERVER_METADATA, *self._content.hidden}
        objects = [
            Listed(name, item.size, item.etag, item.modified)
            for item in page.objects
            if (name := item.key[len(prefix) :]) and item.key not in hidden and name not in taken
        ]
        children = [*objects, *directories]
        unfit = [item.name for item in children if not _fits(item.name)]
        if unfit:
            log.warning("%s: %d keys are no file names, such as %r", prefix, len(unfit), unfit[0])
        return [item for item in children if _fits(item.name)]


def _fits(name: str) -> bool:
    """Whether a directory can hold this name."""
    return (
        name not in ("", ".", "..") and "\0" not in name and len(name.encode()) <= _MAX_NAME_BYTES
    )
