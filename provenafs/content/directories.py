"""Renaming a directory: every object below it is copied, then every original deleted.

The intent is journalled before the first copy. A failure takes the copies back; after a crash the
next mount goes on where the last one was: what is there already is told by its ETag
or the id of its write.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio

from provenafs.content.file import lock_all
from provenafs.content.files import Files
from provenafs.content.index import Entry, Kind
from provenafs.content.journal import Action, Intent, new_intent
from provenafs.content.markers import is_marker, put_marker
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, S3Error
from provenafs.s3.metadata import Head
from provenafs.s3.pages import Pages
from provenafs.s3.parallel import run_all
from provenafs.s3.types import ObjectInfo

log = logging.getLogger(__name__)

_AT_ONCE = 16


async def rename_directory(
    files: Files,
    volume: Volume,
    entry: Entry,
    target: Entry,
    new_name: str,
    new_key: str,
    limit: int,
) -> None:
    """Move a directory. EXDEV above `limit` objects, EINVAL into itself, ESTALE on a conflict."""
    prefix, new_prefix = volume.drive.key(entry) + "/", new_key + "/"
    if new_prefix.startswith(prefix):
        raise FSError(errno.EINVAL)
    async with AsyncExitStack() as moving:
        for below in (prefix, new_prefix):
            await files.deletions.hurry_below(below)
        open_files = files.below(prefix, volume)
        await lock_all(moving, open_files)
        for file in open_files:
            await file.restart_upload()
        found = await _list(volume, prefix, limit)
        intent = new_intent(files.journal, Action.RENAME, volume.dataset, prefix, target=new_prefix)
        await files.journal.intend(intent)
        etags = await _copy_all(files, volume, intent, found)
        files.index.move(entry.ino, target.ino, new_name)
        _note_etags(files, entry, prefix, found, etags)
        copied = {item.key: item.etag for item in found}
        for file in open_files:
            # What somebody else made of an open file meanwhile is not the version it changes.
            is_its_own = file.etag is not None and copied.get(file.key) == file.etag
            etag = etags[file.key] if is_its_own else file.etag
            await file.move(new_prefix + file.key[len(prefix) :], file.name, etag)
        await _delete_all(volume, found)
        await files.journal.fulfil(intent.id)


async def resume_rename(files: Files, volume: Volume, intent: Intent) -> None:
    """Carry a rename to its end that an earlier mount had begun."""
    await volume.may_write()
    found = [item async for item in _objects(volume, intent.key)]
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def move(item: ObjectInfo) -> None:
        async with limiter:
            target = _target(intent, item)
            try:
                if await _is_moved(volume, item, target):
                    await volume.writer.delete(item.key, item.etag or None)
            except (PreconditionFailed, NoSuchKey):
                log.info("%s was changed by somebody else: it stays", item.key)

    await run_all(partial(move, item) for item in found)
    for prefix in (intent.key, intent.target):
        volume.drive.expire(prefix.rstrip("/"))
    await files.journal.fulfil(intent.id)


async def _is_moved(volume: Volume, item: ObjectInfo, target: str) -> bool:
    """Copy an object unless that was done before; False where something else is in its place."""
    try:
        there = await volume.writer.head(target)
    except NoSuchKey:
        await _copy(volume, item, target)
        return True
    if is_marker(item) or await _is_copy(volume, item, there):
        return True
    log.warning("%s stays: %s may be another file", item.key, target)
    return False


async def _is_copy(volume: Volume, item: ObjectInfo, there: Head) -> bool:
    """Whether an object was copied from `item`.

    The copy of a multipart object has another ETag; then only the id of the write tells.
    """
    if there.etag == item.etag:
        return True
    write_id = there.metadata.write_id
    if not write_id or there.size != item.size:
        return False
    return (await volume.writer.head(item.key)).metadata.write_id == write_id


async def _copy(volume: Volume, item: ObjectInfo, target: str) -> str:
    """Copy an object to a new key; its ETag there. Not all stores copy markers: they are made."""
    if is_marker(item):
        await put_marker(volume, target.removesuffix("/"))
        return item.etag
    return await volume.writer.copy(
        item.key, item.etag, target, None, size=item.size, storage_class=item.storage_class
    )


async def _list(volume: Volume, prefix: str, limit: int) -> list[ObjectInfo]:
    found: list[ObjectInfo] = []
    async for item in _objects(volume, prefix):
        found.append(item)
        if len(found) > limit:
            message = f"{prefix} holds more than {limit} objects: copy it, or raise --rename-limit"
            raise FSError(errno.EXDEV, message)
    return found


async def _objects(volume: Volume, prefix: str) -> AsyncIterator[ObjectInfo]:
    pages = Pages(volume.drive.bucket, prefix)
    while (page := await pages.next()) is not None:
        for item in page.objects:
            yield item


async def _copy_all(
    files: Files, volume: Volume, intent: Intent, found: Sequence[ObjectInfo]
) -> dict[str, str]:
    """Copy all objects; the new ETags by old key. A failure takes back what was copied."""
    etags: dict[str, str] = {}
    failures: list[Exception] = []
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def copy(item: ObjectInfo) -> None:
        async with limiter:
            if failures:
                return
            try:
                etags[item.key] = await _copy(volume, item, _target(intent, item))
                files.uploads.progress.made()
            except Exception as error:  # those under way end first, to be taken back
                failures.append(error)

    await run_all(partial(copy, item) for item in found)
    if not failures:
        return etags
    await _take_back(volume, intent, found, etags)
    await files.journal.fulfil(intent.id)
    if isinstance(failures[0], (PreconditionFailed, NoSuchKey)):
        message = f"{intent.key} was changed by somebody else while it was renamed"
        raise FSError(errno.ESTALE, message) from failures[0]
    raise failures[0]


async def _take_back(
    volume: Volume, intent: Intent, found: Sequence[ObjectInfo], etags: dict[str, str]
) -> None:
    """Delete copies; one that cannot be is left, since every original is still there."""
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def delete(item: ObjectInfo) -> None:
        target = _target(intent, item)
        async with limiter:
            try:
                await volume.writer.delete(target, etags[item.key] or None)
            except (S3Error, FSError) as error:
                log.warning("the copy %s is left behind: %s", target, error)

    await run_all(partial(delete, item) for item in found if item.key in etags)


def _target(intent: Intent, item: ObjectInfo) -> str:
    return intent.target + item.key[len(intent.key) :]


async def _delete_all(volume: Volume, found: Sequence[ObjectInfo]) -> None:
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def delete(item: ObjectInfo) -> None:
        async with limiter:
            try:
                await volume.writer.delete(item.key, item.etag or None)
            except PreconditionFailed:
                return  # changed meanwhile: it stays, under the old name

    await run_all(partial(delete, item) for item in found)


def _note_etags(
    files: Files, entry: Entry, prefix: str, found: Sequence[ObjectInfo], etags: dict[str, str]
) -> None:
    """Copies of multipart objects have other ETags: the entries that are known learn them."""
    for item in found:
        if etags[item.key] == item.etag:
            continue
        child: Entry | None = entry
        for name in item.key[len(prefix) :].split("/"):
            child = None if child is None else files.index.child(child.ino, name)
        if child is not None and child.kind is Kind.OBJECT and child.etag == item.etag:
            files.index.update(child.ino, etag=etags[item.key])
