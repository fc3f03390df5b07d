"""The bytes of one object version, from cache or bucket."""

from __future__ import annotations

import errno
from collections.abc import Callable

from provenafs.content.cache.block_cache import BlockCache, object_id
from provenafs.content.cache.segment import GRANULE
from provenafs.content.object_version import ObjectVersion
from provenafs.errors import FSError
from provenafs.s3.api import BucketApi
from provenafs.s3.errors import NoSuchKey, PreconditionFailed

# Cached bytes between two missing ranges are fetched along with them, up to this many.
_WORTH_A_REQUEST = 512 * 1024


class ObjectSource:
    """An object version, on disk or in the bucket.

    Every request carries its ETag, so that versions never mix. What is on disk is served whatever
    became of the object.
    """

    def __init__(
        self,
        bucket: BucketApi,
        version: ObjectVersion,
        stale: Callable[[], None],
        cache: BlockCache | None = None,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        """`stale` is called when the bucket is found to hold another version.

        `is_lost` returns whether this mount itself has replaced or deleted the object.
        """
        self.size = version.size
        self._bucket = bucket
        self.key = version.key
        self._etag = version.etag or ""
        self._stale = stale
        self._cache = cache
        self._is_lost = is_lost
        self.name = object_id(bucket.name, self.key, self._etag)
        self._gone = False
        self._fetched: set[int] = set()  # starts of ranges that the cache does not have yet

    @property
    def cached_bytes(self) -> int:
        """How many of the object's bytes are on disk."""
        return 0 if self._cache is None else self._cache.cached_bytes(self.name)

    def absent(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not on disk, in whole granules."""
        if self._cache is None:
            return [(start, end)]
        missing = self._cache.missing(self.name, start, end)
        return [(max(low, start), min(high, end)) for low, high in missing]

    @property
    def is_whole(self) -> bool:
        """Whether all of the object is on disk."""
        return self.cached_bytes >= self.size

    def read_now(self, start: int, end: int) -> memoryview | None:
        """The bytes of [start, end) where neither network nor disk has to be waited for."""
        return None if self._cache is None else self._cache.read_now(self.name, start, end)

    def pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """[start, end) in pieces that are on disk, or are worth a request each."""
        pieces: list[tuple[int, int]] = []
        position = start
        for low, high in self.absent(start, end):
            if pieces and low - position < _WORTH_A_REQUEST:
                low = pieces.pop()[0]
            elif low > position:
                pieces.append((position, low))
            pieces.append((low, high))
            position = high
        if position < end:
            pieces.append((position, end))
        return pieces

    async def read_cached(
        self, start: int, end: int, *, at_random: bool = False
    ) -> memoryview | None:
        """The bytes of [start, end) if all of them are on disk."""
        if self._cache is None:
            return None
        low = start // GRANULE * GRANULE
        high = min(-(-end // GRANULE) * GRANULE, self.size)
        data = await self._cache.read(self.name, low, high, at_random=at_random)
        return None if data is None else data[start - low : end - low]

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        """The bytes of [start, end); with `retry` until the deadline of the service has passed.

        ESTALE if the object was changed or deleted; raises S3Error.
        """
        cached = await self.read_cached(start, end)
        if cached is not None:
            return cached
        if self._gone or self._is_lost():
            raise self._is_stale()
        try:
            data = await self._bucket.read_range(
                self.key, start, end - start, self._etag, size=self.size, retry=retry
            )
        except (PreconditionFailed, NoSuchKey) as error:
            self._gone = True
            if not self._is_lost():
                self._stale()
            raise self._is_stale() from error
        self._fetched.add(start)
        return data

    async def keep(self, start: int, data: memoryview) -> None:
        """Put bytes that `fetch` returned on disk, if they come from the bucket."""
        if self._cache is None or start not in self._fetched:
            return
        self._fetched.discard(start)
        end = start + len(data)
        if start % GRANULE == 0 and (end % GRANULE == 0 or end == self.size):
            await self._cache.store(self.name, start, data)

    def _is_stale(self) -> FSError:
        if self._is_lost():
            message = f"{self.key} was replaced or deleted on this machine while it was open"
        else:
            message = f"{self.key} was changed or deleted by another client"
        return FSError(errno.ESTALE, message)
