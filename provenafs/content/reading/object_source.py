"""The bytes of one object version, wherever they are."""

from __future__ import annotations

import errno
from collections.abc import Callable

from provenafs.content.cache.block_cache import BlockCache, object_id
from provenafs.content.cache.segments import GRANULE
from provenafs.content.object_version import ObjectVersion
from provenafs.errors import FSError
from provenafs.s3.api import BucketApi
from provenafs.s3.errors import NoSuchKey, PreconditionFailed


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

        `is_lost` tells whether this mount itself has replaced or deleted the object.
        """
        self.size = version.size
        self._bucket = bucket
        self.key = version.key
        self._etag = version.etag or ""
        self._stale = stale
        self._cache = cache
        self._is_lost = is_lost
        self._name = object_id(bucket.name, self.key, self._etag)
        self._gone = False
        self._fetched: set[int] = set()  # starts of ranges that the cache does not have yet

    @property
    def cached_bytes(self) -> int:
        """How many of the object's bytes are on disk."""
        return 0 if self._cache is None else self._cache.cached_bytes(self._name)

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        """The bytes of [start, end); with `retry` until the deadline of the service has passed.

        ESTALE if the object was changed or deleted; raises S3Error.
        """
        cached = await self._cached(start, end)
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
            await self._cache.store(self._name, start, data)

    async def _cached(self, start: int, end: int) -> memoryview | None:
        if self._cache is None:
            return None
        low = start // GRANULE * GRANULE
        high = min(-(-end // GRANULE) * GRANULE, self.size)
        data = await self._cache.read(self._name, low, high)
        return None if data is None else data[start - low : end - low]

    def _is_stale(self) -> FSError:
        if self._is_lost():
            message = f"{self.key} was replaced or deleted on this machine while it was open"
        else:
            message = f"{self.key} was changed or deleted by another client"
        return FSError(errno.ESTALE, message)
