"""Reading one version of an object."""

from __future__ import annotations

import errno

from provenafs.errors import FSError
from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import NoSuchKey, PreconditionFailed


class Reader:
    """An open object version; every request carries its ETag, so versions never mix."""

    def __init__(self, bucket: Bucket, key: str, size: int, etag: str) -> None:
        self._bucket = bucket
        self._key = key
        self._size = size
        self._etag = etag

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to `size` bytes from `offset`. ESTALE if the object was changed or deleted."""
        length = min(size, self._size - offset)
        if length <= 0:
            return b""
        try:
            return await self._bucket.read_range(self._key, offset, length, self._etag)
        except (PreconditionFailed, NoSuchKey) as error:
            raise FSError(errno.ESTALE, f"{self._key} was changed or deleted") from error

    async def close(self) -> None:
        """Give up what was read ahead."""
