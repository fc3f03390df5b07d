"""The protocol of a dataset's bucket.

`Bucket` and `ObjectWriter` are the implementations; what each method does, and which S3Error it
raises, is said there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from provenafs.s3.deleting import Fate, Removal
from provenafs.s3.late_deletes import LateDeletes
from provenafs.s3.metadata import Head, Metadata
from provenafs.s3.types import ListPage, UploadedPart


class BucketApi(Protocol):
    """Reading: pages of listings, what is known of an object, and its bytes."""

    @property
    def name(self) -> str:
        """The bucket's name."""

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        max_keys: int = 1000,
    ) -> ListPage:
        """One page of the keys below a prefix."""

    async def head(self, key: str) -> Head:
        """An object without its bytes."""

    async def read_range(
        self, key: str, start: int, length: int, etag: str, *, size: int, retry: bool = True
    ) -> memoryview:
        """Bytes of one version of an object."""


class WriterApi(Protocol):
    """Changes, each only if what is there has the ETag `expected`; None is for nothing there."""

    @property
    def late_deletes(self) -> LateDeletes:
        """The keys of DELETE requests that may still be carried out."""

    async def head(self, key: str) -> Head:
        """An object as it is now."""

    async def describe(self, key: str) -> Head:
        """An object as it is now, with its tags."""

    async def put(
        self,
        key: str,
        body: bytes | memoryview,
        expected: str | None,
        metadata: Metadata,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Store an object in one request; returns its ETag."""

    async def copy(
        self,
        source: str,
        source_etag: str,
        key: str,
        expected: str | None,
        *,
        size: int,
        metadata: Metadata | None = None,
        storage_class: str | None = None,
    ) -> str:
        """Copy an object within the bucket; returns the copy's ETag."""

    async def delete(self, key: str, expected: str | None, removal: Removal | None = None) -> None:
        """Delete an object; `expected` None whatever it is."""

    async def delete_many(self, wanted: Mapping[str, str]) -> Mapping[str, Fate]:
        """Delete objects by their keys, each with its ETag, in one request."""

    async def checks_etags(self, unused_key: str) -> bool:
        """Whether `delete_many` spares what has another ETag."""

    async def create_upload(self, key: str, metadata: Metadata) -> str:
        """Begin a multipart upload; returns its id."""

    async def upload_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: bytes | memoryview,
        progress: Callable[[int], None] | None = None,
    ) -> UploadedPart:
        """Send one part."""

    async def copy_part(
        self, key: str, upload_id: str, number: int, source: str, etag: str, start: int, end: int
    ) -> UploadedPart:
        """Let the server copy [start, end) of an object as a part."""

    async def complete(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[UploadedPart],
        expected: str | None,
        metadata: Metadata,
    ) -> str:
        """Make the object of its parts; returns its ETag."""

    async def abort(self, key: str, upload_id: str) -> None:
        """Give up a multipart upload."""
