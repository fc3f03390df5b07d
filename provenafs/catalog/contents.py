"""All files of a dataset as the bucket has them: listed, and checked one by one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from provenafs.content.keys import unfit_reason
from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error
from provenafs.s3.types import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_AT_ONCE = 16
_PIECE = 1024 * 1024
# The ETag of an object sent in one piece and not encrypted with a key of its own is its MD5.
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_SERVER_METADATA = "metadata.json"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of one key found; `fault` None if all is well, `size` in bytes."""

    path: str
    size: int
    fault: str | None


def md5_of(etag: str) -> str | None:
    """The MD5 that an ETag stands for, if it can be one."""
    match = _MD5.fullmatch(etag)
    return None if match is None else match[1]


async def objects(bucket: Bucket, prefix: str) -> AsyncIterator[ObjectInfo]:
    """Every object of a dataset but directory markers and the service's own metadata.json.

    In byte order of the keys. Raises S3Error.
    """
    async for item in objects_and_markers(bucket, prefix):
        if not item.key.endswith("/"):
            yield item


async def objects_and_markers(bucket: Bucket, prefix: str) -> AsyncIterator[ObjectInfo]:
    """Every object below a dataset's prefix but the service's own metadata.json. See objects."""
    token: str | None = None
    while True:
        page = await bucket.list(prefix, delimiter="", token=token)
        for item in page.objects:
            if item.key not in (prefix, prefix + _SERVER_METADATA):
                yield item
        token = page.next_token
        if token is None:
            return


def fault_of_path(path: str) -> str | None:
    """Why a key below a dataset's prefix cannot be shown as a file; None if it can."""
    for name in path.split("/"):
        reason = unfit_reason(name)
        if reason is not None:
            return reason
    return None


async def verify(
    bucket: Bucket,
    prefix: str,
    found: list[ObjectInfo],
    *,
    whole: bool,
    tell: Callable[[Checked], None],
) -> None:
    """Check objects, some at once, and tell what was found of each.

    Each must be readable and of the size listed: at both its ends, or `whole` with its checksums.
    """
    limit = trio.CapacityLimiter(_AT_ONCE)
    folders = {parent for item in found for parent in _parents(item.key)}

    async def check(item: ObjectInfo) -> None:
        path = item.key.removeprefix(prefix)
        try:
            fault = fault_of_path(path)
            if fault is None and item.key in folders:
                fault = "a directory has the same name"
            if fault is not None:
                fault = f"cannot be shown as a file: {fault}"
            elif whole:
                fault = await _read_whole(bucket, item)
            else:
                await _read_ends(bucket, item)
        except (NoSuchKey, PreconditionFailed):
            fault = "was changed or removed while it was checked"
        except S3Error as error:
            fault = str(error)
        finally:
            limit.release_on_behalf_of(item.key)
        tell(Checked(path, item.size, fault))

    async with trio.open_nursery() as nursery:
        for item in found:
            await limit.acquire_on_behalf_of(item.key)
            nursery.start_soon(check, item)


def _parents(key: str) -> Iterator[str]:
    """The keys that stand for the directories a key is in."""
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)


async def _read_ends(bucket: Bucket, item: ObjectInfo) -> None:
    if item.size:
        await bucket.read_range(item.key, 0, 1, item.etag)
        await bucket.read_range(item.key, item.size - 1, 1, item.etag)


async def _read_whole(bucket: Bucket, item: ObjectInfo) -> str | None:
    """What is wrong with the bytes of an object. boto3 compares a stored CRC by itself."""

    def work(client: S3Client) -> str | None:
        answer: Any = client.get_object(
            Bucket=bucket.name, Key=item.key, IfMatch=item.etag, ChecksumMode="ENABLED"
        )
        digest, size = hashlib.md5(usedforsecurity=False), 0
        for piece in answer["Body"].iter_chunks(_PIECE):
            digest.update(piece)
            size += len(piece)
        if size != item.size:
            return f"{size} bytes came, {item.size} are listed"
        expected = md5_of(item.etag)
        if expected is not None and "SSEKMSKeyId" not in answer and digest.hexdigest() != expected:
            return "its bytes do not have the MD5 that its ETag says"
        return None

    return await bucket.boto(f"verifying {item.key}", work, bucket.service.reads)
