"""Copying the files of one dataset into another, such as its next version.

The keys of a dataset open that dataset only, so no server can copy from one to the other: the bytes
pass through this machine.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import trio

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.contents import objects_and_markers
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.unfinished import Unfinished
from provenafs.errors import FSError
from provenafs.lib.parallel import run_all
from provenafs.lib.progress import ByteSemaphore
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.errors import NoSuchKey, PreconditionFailed
from provenafs.s3.metadata import COPY_OF, Metadata
from provenafs.s3.types import ObjectInfo, UploadedPart
from provenafs.s3.whole import read_whole
from provenafs.s3.writing import ObjectWriter

_FILES_AT_ONCE = 16
_BYTES_IN_MEMORY = 128 * 1024**2
_WHOLE = 64 * 1024**2  # bytes; a larger object is copied in parts
_PART = 16 * 1024**2
_MOST_PARTS = 10_000
_ABORT_S = 5.0


@dataclass(frozen=True, slots=True)
class Copied:
    """The outcome of a copy: files copied, files present already, and files that differ.

    `size` in bytes of what was copied. `differing` are the paths of files that are in the target
    with other contents: they are kept as they are.
    """

    files: int
    size: int
    present: int
    differing: tuple[str, ...]


async def open_copy(
    catalog: Catalog, service: S3Context, source: str, target: str, uploads: Unfinished
) -> DataCopy:
    """A copy of all files of one dataset into another; raises why it may not be made."""
    old = await catalog.dataset(source, max_age=0)
    new = await catalog.dataset(target, max_age=0)
    refusal = old.read_refusal() or new.write_refusal()
    if refusal is not None:
        raise refusal

    def folder(dataset: Dataset) -> Folder:
        bucket, prefix = dataset.record.s3
        return Folder(Bucket(bucket, catalog.credentials(dataset.handle), service), prefix)

    return DataCopy(folder(old), folder(new), uploads)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a dataset: below a prefix that ends in a slash."""

    bucket: Bucket
    prefix: str

    async def objects(self) -> dict[str, ObjectInfo]:
        """Files and directory markers by their paths."""
        found = objects_and_markers(self.bucket, self.prefix)
        return {item.key.removeprefix(self.prefix): item async for item in found}


class DataCopy:
    """One copy. What is in the target is never overwritten, so that a copy can be run again.

    Memory is bounded for the bytes; both listings are held.
    """

    def __init__(self, source: Folder, target: Folder, uploads: Unfinished) -> None:
        """`uploads` keeps the multipart uploads that are begun."""
        self._source = source
        self._target = target
        self._writer = ObjectWriter(target.bucket)
        self._uploads = uploads
        self._memory = ByteSemaphore(_BYTES_IN_MEMORY)
        self._originals: dict[str, ObjectInfo] = {}
        self._found: dict[str, ObjectInfo] = {}
        self._etags: dict[str, str] = {}
        self._differing: list[str] = []

    async def look(self) -> int:
        """List both sides; returns how many bytes the files that the target lacks have."""
        self._originals = await self._source.objects()
        self._found = await self._target.objects()
        return sum(item.size for path, item in self._originals.items() if path not in self._found)

    async def run(self, tell: Callable[[int], None]) -> Copied:
        """Copy what the target lacks, and verify it; `tell` is called with bytes stored.

        Raises FSError(ESTALE) if a file changes meanwhile, and S3Error.
        """
        for key, upload_id in self._uploads.left_behind:
            await self._writer.abort(key, upload_id)
        paths = iter(self._originals)
        await run_all(partial(self._work, paths, tell) for _ in range(_FILES_AT_ONCE))
        await self._check()
        copied = [
            self._originals[path]
            for path in self._etags
            if path not in self._found and not path.endswith("/")
        ]
        present = sum(1 for path in self._etags if path in self._found and not path.endswith("/"))
        size = sum(item.size for item in copied)
        return Copied(len(copied), size, present, tuple(sorted(self._differing)))

    async def _work(self, paths: Iterator[str], tell: Callable[[int], None]) -> None:
        for path in paths:
            found = self._found.get(path)
            if found is None:
                self._etags[path] = await self._copy(path, tell)
            elif await self._is_copied(path, found):
                self._etags[path] = found.etag
            else:
                self._differing.append(path)

    async def _is_copied(self, path: str, found: ObjectInfo) -> bool:
        original = self._originals[path]
        if found.size != original.size:
            return False
        if found.etag == original.etag or path.endswith("/"):
            return True
        head = await self._target.bucket.head(found.key)
        return head.etag == found.etag and head.metadata.other.get(COPY_OF) == _bare(original.etag)

    async def _copy(self, path: str, tell: Callable[[int], None]) -> str:
        item = self._originals[path]
        key = self._target.prefix + path
        try:
            if item.size > _WHOLE:
                return await self._copy_in_parts(item, key, tell)
            return await self._copy_whole(item, key, tell)
        except (PreconditionFailed, NoSuchKey):
            raise FSError(
                errno.ESTALE, f"{path} was changed by another client while it was copied"
            ) from None

    async def _copy_whole(self, item: ObjectInfo, key: str, tell: Callable[[int], None]) -> str:
        async with self._memory.hold(item.size):
            body, metadata = await read_whole(self._source.bucket, item)
            etag = await self._writer.put(key, body, None, _metadata(item, metadata))
        tell(item.size)
        return etag

    async def _copy_in_parts(self, item: ObjectInfo, key: str, tell: Callable[[int], None]) -> str:
        source = self._source.bucket
        head = await source.head(item.key)
        metadata = _metadata(item, head.metadata)
        length = max(_PART, -(-item.size // _MOST_PARTS))
        parts: dict[int, UploadedPart] = {}

        async def copy_part(upload_id: str, number: int, start: int) -> None:
            size = min(length, item.size - start)
            async with self._memory.hold(size):
                body = await source.read_range(item.key, start, size, item.etag, size=item.size)
                parts[number] = await self._writer.upload_part(key, upload_id, number, body)
            tell(size)

        async with self._upload(key, metadata) as upload_id:
            starts = enumerate(range(0, item.size, length), start=1)
            await run_all(partial(copy_part, upload_id, number, start) for number, start in starts)
            listed = [parts[number] for number in sorted(parts)]
            return await self._writer.complete(key, upload_id, listed, None, metadata)

    @asynccontextmanager
    async def _upload(self, key: str, metadata: Metadata) -> AsyncIterator[str]:
        """A multipart upload that is given up when it fails or is interrupted."""
        upload_id = await self._writer.create_upload(key, metadata)
        self._uploads.begun(key, upload_id)
        try:
            yield upload_id
        except BaseException:
            with trio.move_on_after(_ABORT_S, shield=True):
                await self._writer.abort(key, upload_id)
            raise

    async def _check(self) -> None:
        """Raise FSError(ESTALE) unless all that was copied is there as it was stored."""
        found = await self._target.objects()
        wrong = [path for path in self._etags if not self._is_there(path, found)]
        if wrong:
            raise FSError(
                errno.ESTALE,
                f"{len(wrong)} copied files were changed or removed by another client, among them"
                f" {min(wrong)}",
            )

    def _is_there(self, path: str, found: Mapping[str, ObjectInfo]) -> bool:
        item = found.get(path)
        if item is None or path.endswith("/"):
            return item is not None
        return (item.size, item.etag) == (self._originals[path].size, self._etags[path])


def _metadata(item: ObjectInfo, metadata: Metadata) -> Metadata:
    """Those of the original; its time too, which the copy could not show otherwise."""
    return replace(
        metadata,
        write_id=uuid.uuid4().hex,
        mtime_ns=item.modified_ns if metadata.mtime_ns is None else metadata.mtime_ns,
        other={**metadata.other, COPY_OF: _bare(item.etag)},
    )


def _bare(etag: str) -> str:
    return etag.strip('"')
