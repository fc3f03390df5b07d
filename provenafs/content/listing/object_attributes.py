"""Times and modes stored with objects, which a LIST does not return: `--mtime=object`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import trio

from provenafs.content.listing.index import Entry, Index, Kind
from provenafs.errors import FSError
from provenafs.lib.parallel import run_all
from provenafs.s3.api import BucketApi
from provenafs.s3.errors import NoSuchKey, S3Error

log = logging.getLogger(__name__)

_AT_ONCE = 32


class ObjectAttributes:
    """Sends a HEAD for each object version, many in parallel; the index keeps the result."""

    def __init__(self, index: Index, bucket: BucketApi, key: Callable[[Entry], str]) -> None:
        """`key` returns the key of an entry's object."""
        self._index = index
        self._bucket = bucket
        self._key = key
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._asked: dict[int, trio.Event] = {}  # by inode number, while the answer is awaited

    async def learn(self, entries: Sequence[Entry]) -> bool:
        """Look at those objects among `entries` that are not known; whether there were any.

        Where it fails, the time of storing stands for now, and the next use asks again.
        """
        unknown = [entry for entry in entries if _is_unknown(entry)]
        try:
            await run_all(partial(self._learn, entry) for entry in unknown)
        except (S3Error, FSError) as error:
            keys = self._key(unknown[0]), len(unknown)
            log.warning("times and modes of %s (one of %d) stay unknown: %s", *keys, error)
        return bool(unknown)

    async def learn_here(self, entry: Entry) -> Entry:
        """Look at an object, and at some that follow it in its directory: one seldom comes alone.

        Returns the entry as it is known then.
        """
        if not _is_unknown(entry):
            return entry
        following = self._index.children(entry.parent, entry.ino, _AT_ONCE - 1)
        await self.learn([entry, *following])
        return self._index.get(entry.ino) or entry

    async def _learn(self, entry: Entry) -> None:
        under_way = self._asked.get(entry.ino)
        if under_way is not None:
            await under_way.wait()
            return
        self._asked[entry.ino] = answered = trio.Event()
        try:
            async with self._limiter:
                head = await self._bucket.head(self._key(entry))
        except NoSuchKey:
            return  # the next LIST shows that it is gone
        finally:
            del self._asked[entry.ino]
            answered.set()
        known_ns = head.metadata.mtime_ns
        mtime_ns = head.modified_ns if known_ns is None else known_ns
        self._index.learn(entry.ino, head.etag, mtime_ns, head.metadata.mode)


def _is_unknown(entry: Entry) -> bool:
    return entry.kind is Kind.OBJECT and entry.mtime_ns is None and not entry.staged
