"""The bytes of one object version, wherever they are."""

from __future__ import annotations

import errno
from collections.abc import Callable

from provenafs.errors import FSError
from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import NoSuchKey, PreconditionFailed


class Source:
    """An object version. Every request carries its ETag, so that versions never mix."""

    def __init__(
        self, bucket: Bucket, key: str, size: int, etag: str, stale: Callable[[], None]
    ) -> None:
        """`size` in bytes; `stale` is called when the bucket is found to hold another version."""
        self.size = size
        self._bucket = bucket
        self._key = key
        self._etag = etag
        self._stale = stale
        self._gone = False

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        """The bytes of [start, end); with `retry` until the deadline of the service has passed.

        ESTALE if the object was changed or deleted; raises S3Error.
        """
        if self._gone:
            raise self._is_stale()
        try:
            return await self._bucket.read_range(
                self._key, start, end - start, self._etag, retry=retry
            )
        except (PreconditionFailed, NoSuchKey) as error:
            self._gone = True
            self._stale()
            raise self._is_stale() from error

    def _is_stale(self) -> FSError:
        return FSError(errno.ESTALE, f"{self._key} was changed or deleted by somebody else")
