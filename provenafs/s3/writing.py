"""Changing objects: puts, multipart uploads, copies and deletes, each on a condition.

Every change names the expected version: the ETag it replaces, or None for nothing at all. A
request that got no answer may have been carried out all the same, so a refused retry is looked
into with a HEAD before it is called a conflict; for that an object made here carries the id of
its write. botocore retries none of these requests.
"""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import trio

from provenafs.lib.parallel import run_all
from provenafs.s3.answers import CRC32, etag_of, part_of, upload_id_of
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import Attempts
from provenafs.s3.deleting import Fate, Removal, checks_etags, delete_many
from provenafs.s3.errors import AccessDenied, NoSuchKey, PreconditionFailed, Unavailable
from provenafs.s3.late_deletes import LateDeletes
from provenafs.s3.metadata import Head, Metadata
from provenafs.s3.sender import ObjectRequest
from provenafs.s3.types import COPY_LIMIT, CredentialScope, UploadedPart

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_COPY_PART = 512 * 1024**2
_PARALLEL_COPIES = 8
_PLAIN_BODY = 1024**2  # up to here the body is bytes; above, it is sent in pieces
_PIECE = 256 * 1024

Progress = Callable[[int], None]  # how many bytes of the body have gone out
_T = TypeVar("_T")


class ObjectWriter:
    """All ways to change one bucket. Retries go on for the service's `io_timeout` seconds."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.late_deletes = LateDeletes()
        self._name = bucket.name

    async def head(self, key: str) -> Head:
        """The object as it is now; NoSuchKey if there is none."""
        return await self.bucket.head(key, access=CredentialScope.WRITE)

    async def describe(self, key: str) -> Head:
        """As `head`, with the tags, as far as the credentials allow to see them."""
        head = await self.head(key)
        if not head.is_tagged:
            return head

        def send(s3: S3Client) -> str:
            tags = s3.get_object_tagging(Bucket=self._name, Key=key)["TagSet"]
            return urlencode([(tag["Key"], tag["Value"]) for tag in tags])

        try:
            tags = await self._boto("looking at the tags of", key, send, retry=True)
        except AccessDenied as error:
            log.warning("%s loses its tags: %s", key, error)
            return head
        return replace(head, metadata=replace(head.metadata, tags=tags))

    async def put(
        self,
        key: str,
        body: bytes | memoryview,
        expected: str | None,
        metadata: Metadata,
        progress: Progress | None = None,
    ) -> str:
        """Store an object in one request; returns its ETag. PreconditionFailed on a conflict."""
        headers = {**metadata.headers(), **_condition_header(expected)}

        def request() -> ObjectRequest:
            checked = {**headers, CRC32: _crc32(body)}
            return ObjectRequest("PUT", self._name, key, checked, _body(body, progress))

        async def attempt() -> str:
            answer = await self.bucket.change(f"storing {key}", request)
            return answer.headers.get("etag", "")

        return await self._conditional(attempt, self._was_written(key, metadata))

    async def delete(self, key: str, expected: str | None, removal: Removal | None = None) -> None:
        """Delete an object; `expected` None whatever it is. Gone already is as good.

        `removal` is what earlier calls know of it. PreconditionFailed if another object is there,
        also one of the same ETag that was stored since the first attempt.
        """
        removal = removal or Removal(key, expected)
        headers = {} if expected is None else _condition_header(expected)
        request = ObjectRequest("DELETE", self._name, key, headers)
        attempts = Attempts(self.bucket.service.io_timeout)
        while True:
            try:
                if removal.was_attempted and expected is not None:
                    now = await self.bucket.head(key, access=CredentialScope.WRITE, retry=False)
                    removal.check(now)
                removal.was_attempted = True
                await self.bucket.change(f"deleting {key}", lambda: request)
                return
            except NoSuchKey:
                return
            except Unavailable as error:
                self.late_deletes.add(key)
                if not await attempts.pause(error):
                    raise

    async def delete_many(self, wanted: Mapping[str, str]) -> Mapping[str, Fate]:
        """Delete objects by their keys, each with its ETag; see deleting.delete_many."""
        return await delete_many(self.bucket, wanted)

    async def checks_etags(self, unused_key: str) -> bool:
        """Whether delete_many looks at ETags; see deleting.checks_etags."""
        return await checks_etags(self.bucket, unused_key)

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
        """Copy an object within the bucket, with its tags; returns the copy's ETag.

        `metadata` None keeps the source's, for which `storage_class` has to be given if it is not
        the standard one; a copy above 5 GiB always carries new metadata.
        PreconditionFailed when the source or what is at `key` is not what was expected.
        """
        if size > COPY_LIMIT:
            metadata = metadata or (await self.describe(source)).metadata
            return await self._copy_in_parts(source, source_etag, key, expected, size, metadata)
        arguments: dict[str, Any] = {"MetadataDirective": "COPY"}
        if storage_class is not None:
            arguments["StorageClass"] = storage_class
        if metadata is not None:
            arguments = {"MetadataDirective": "REPLACE", **metadata.arguments()}

        def send(s3: S3Client) -> str:
            answer = s3.copy_object(
                Bucket=self._name,
                Key=key,
                CopySource={"Bucket": self._name, "Key": source},
                CopySourceIfMatch=source_etag,
                **_condition(expected),
                **arguments,
            )
            return etag_of(part_of(answer, "CopyObjectResult"), key=key)

        return await self._conditional(
            partial(self._boto, "copying to", key, send),
            self._was_copied(key, expected, source_etag, metadata),
        )

    # Multipart uploads

    async def create_upload(self, key: str, metadata: Metadata) -> str:
        """Begin a multipart upload; returns its id."""
        arguments = metadata.arguments()
        if metadata.tags:
            arguments["Tagging"] = metadata.tags

        def send(s3: S3Client) -> str:
            answer = s3.create_multipart_upload(
                Bucket=self._name, Key=key, ChecksumAlgorithm="CRC32", **arguments
            )
            return upload_id_of(answer)

        return await self._boto("starting the upload of", key, send, retry=True)

    async def upload_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: bytes | memoryview,
        progress: Progress | None = None,
    ) -> UploadedPart:
        """Send one part. NoSuchKey when the upload is not there any more."""
        query = {"partNumber": str(number), "uploadId": upload_id}

        def request() -> ObjectRequest:
            headers = {CRC32: _crc32(body)}
            return ObjectRequest("PUT", self._name, key, headers, _body(body, progress), query)

        answer = await self.bucket.change(f"uploading {key}", request, retry=True)
        return UploadedPart(number, answer.headers["etag"], answer.headers.get(CRC32))

    async def copy_part(
        self, key: str, upload_id: str, number: int, source: str, etag: str, start: int, end: int
    ) -> UploadedPart:
        """Let the server copy [start, end) of `source`, in bytes, as a part."""

        def send(s3: S3Client) -> UploadedPart:
            answer: Any = s3.upload_part_copy(
                Bucket=self._name,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySource={"Bucket": self._name, "Key": source},
                CopySourceIfMatch=etag,
                CopySourceRange=f"bytes={start}-{end - 1}",
            )
            result = part_of(answer, "CopyPartResult")
            return UploadedPart(number, etag_of(result), result.get("ChecksumCRC32"))

        return await self._boto("copying parts of", key, send, retry=True)

    async def complete(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[UploadedPart],
        expected: str | None,
        metadata: Metadata,
    ) -> str:
        """Make the object of its parts; returns its ETag. PreconditionFailed on a conflict."""
        listed: list[Any] = [_completed(part) for part in parts]

        def send(s3: S3Client) -> str:
            answer = s3.complete_multipart_upload(
                Bucket=self._name,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": listed},
                **_condition(expected),
            )
            return etag_of(answer)

        return await self._conditional(
            partial(self._boto, "completing the upload of", key, send),
            self._was_written(key, metadata),
        )

    async def abort(self, key: str, upload_id: str) -> None:
        """Give up a multipart upload; gone already is as good."""

        def send(s3: S3Client) -> None:
            s3.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload_id)

        try:
            await self._boto("aborting the upload of", key, send, retry=True)
        except NoSuchKey:
            return

    async def _copy_in_parts(
        self,
        source: str,
        source_etag: str,
        key: str,
        expected: str | None,
        size: int,
        metadata: Metadata,
    ) -> str:
        upload_id = await self.create_upload(key, metadata)
        length = max(_COPY_PART, -(-size // 5000))
        parts: dict[int, UploadedPart] = {}
        limiter = trio.CapacityLimiter(_PARALLEL_COPIES)

        async def copy_part(number: int, start: int) -> None:
            async with limiter:
                end = min(size, start + length)
                parts[number] = await self.copy_part(
                    key, upload_id, number, source, source_etag, start, end
                )

        try:
            starts = enumerate(range(0, size, length), start=1)
            await run_all(partial(copy_part, number, start) for number, start in starts)
            listed = [parts[number] for number in sorted(parts)]
            return await self.complete(key, upload_id, listed, expected, metadata)
        except Exception:
            await self.abort(key, upload_id)
            raise

    # Retrying

    async def _conditional(
        self,
        attempt: Callable[[], Awaitable[str]],
        done: Callable[[], Awaitable[str | None]],
    ) -> str:
        """Attempt until there is an answer that is ours.

        `done` looks whether an earlier attempt was carried out: the new ETag if so, else None.
        """
        attempts = Attempts(self.bucket.service.io_timeout)
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                if not await attempts.pause(error):
                    raise
            except (PreconditionFailed, NoSuchKey):
                etag = await done() if attempts.unanswered else None
                if etag is None:
                    raise
                return etag

    async def _boto(
        self, operation: str, key: str, send: Callable[[S3Client], _T], *, retry: bool = False
    ) -> _T:
        """Make a request; `retry` is for those that may be carried out twice."""
        service = self.bucket.service
        return await self.bucket.boto(
            f"{operation} {key}", send, service.uploads, access=CredentialScope.WRITE, retry=retry
        )

    def _was_written(self, key: str, metadata: Metadata) -> Callable[[], Awaitable[str | None]]:
        async def done() -> str | None:
            try:
                head = await self.head(key)
            except NoSuchKey:
                return None
            return head.etag if head.metadata.write_id == metadata.write_id else None

        return done

    def _was_copied(
        self, key: str, expected: str | None, source_etag: str, metadata: Metadata | None
    ) -> Callable[[], Awaitable[str | None]]:
        if metadata is not None:
            return self._was_written(key, metadata)

        async def done() -> str | None:
            try:
                head = await self.head(key)
            except NoSuchKey:
                return None
            return head.etag if head.etag == source_etag != expected else None

        return done


class _Body:
    """A body that goes out in pieces.

    http.client hands bytes to the socket in one call, whose timeout then is one for the whole
    body; pieces make it one for each, and they can be counted.
    """

    def __init__(self, data: bytes | memoryview, progress: Progress | None) -> None:
        self._data = memoryview(data)
        self._position = 0
        self._progress = progress

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = -1) -> memoryview:
        """The next piece: the size is ours, since the caller's 16 KiB cost too much time."""
        piece = self._data[self._position : self._position + _PIECE]
        self._position += len(piece)
        if self._progress is not None:
            self._progress(self._position)
        return piece

    def seek(self, position: int, whence: int = 0) -> int:
        """As of files."""
        self._position = position + (0, self._position, len(self._data))[whence]
        return self._position

    def tell(self) -> int:
        """As of files."""
        return self._position


def _body(data: bytes | memoryview, progress: Progress | None) -> Any:
    return bytes(data) if len(data) <= _PLAIN_BODY else _Body(data, progress)


def _condition(expected: str | None) -> dict[str, Any]:
    return {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}


def _condition_header(expected: str | None) -> dict[str, str]:
    return {"if-none-match": "*"} if expected is None else {"if-match": expected}


def _crc32(data: bytes | memoryview) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def _completed(part: UploadedPart) -> dict[str, Any]:
    listed: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
    if part.crc32 is not None:
        listed["ChecksumCRC32"] = part.crc32
    return listed
