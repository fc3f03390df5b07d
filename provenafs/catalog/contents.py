"""All files of a dataset as the bucket has them: listed, and checked one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import trio

from provenafs.content.listing.keys import unfit_reason
from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error
from provenafs.s3.pages import Pages
from provenafs.s3.types import ObjectInfo
from provenafs.s3.whole import fault_in

_AT_ONCE = 16
_SERVER_METADATA = "metadata.json"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result for one key; `fault` is None if the object is sound, `size` in bytes."""

    path: str
    size: int
    fault: str | None


async def objects(bucket: Bucket, prefix: str) -> AsyncIterator[ObjectInfo]:
    """Every object of a dataset but directory markers and the service's own metadata.json.

    In byte order of the keys. Raises S3Error.
    """
    async for item in objects_and_markers(bucket, prefix):
        if not item.key.endswith("/"):
            yield item


async def objects_and_markers(bucket: Bucket, prefix: str) -> AsyncIterator[ObjectInfo]:
    """Every object below a dataset's prefix but the service's own metadata.json. See objects."""
    pages = Pages(bucket, prefix)
    while (page := await pages.next()) is not None:
        if page.left_out:  # who asks speaks for all files
            raise S3Error(f"listing {prefix}: {page.left_out[0]}, so that not all files are known")
        for item in page.objects:
            if item.key not in (prefix, prefix + _SERVER_METADATA):
                yield item


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
    """Verify objects, several in parallel, and yield the result of each.

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
                fault = await fault_in(bucket, item)
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
        for start in (0, item.size - 1):
            await bucket.read_range(item.key, start, 1, item.etag, size=item.size)
