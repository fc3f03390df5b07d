"""Reading objects together with what is stored beside their bytes, as a copy needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import Unavailable
from provenafs.s3.metadata import Head, Metadata, head_of, metadata_of
from provenafs.s3.types import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


async def read_whole(bucket: Bucket, item: ObjectInfo) -> tuple[bytes, Metadata]:
    """All bytes of an object and its metadata, in one request.

    Raises PreconditionFailed if the object is another by now, NoSuchKey, S3Error.
    """
    what = f"reading {item.key}"

    def work(client: S3Client) -> tuple[bytes, Metadata]:
        answer: Any = client.get_object(Bucket=bucket.name, Key=item.key, IfMatch=item.etag)
        body = answer["Body"].read()
        if len(body) != item.size:
            raise Unavailable(f"{what}: {len(body)} of {item.size} bytes came")
        return body, metadata_of(answer)

    return await bucket.boto(what, work, bucket.service.reads)


async def look_at(bucket: Bucket, key: str) -> Head:
    """An object and its metadata, with keys that need only read. Raises NoSuchKey, S3Error."""

    def work(client: S3Client) -> Head:
        answer: Any = client.head_object(Bucket=bucket.name, Key=key)
        return head_of(answer)

    return await bucket.boto(f"looking at {key}", work, bucket.service.listings)
