"""Changes of names: create, mkdir, unlink, rmdir and the rename of files.

A directory is a common prefix of keys; one that would be left without any gets a marker, an empty
object whose key ends in a slash. Every function raises FSError or S3Error and changes the index
only after the bucket.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from contextlib import AsyncExitStack, suppress

from provenafs.content.directories import rename_directory
from provenafs.content.file import File, lock_all
from provenafs.content.files import FileHandle, Files
from provenafs.content.index import Entry, Kind
from provenafs.content.keeping import being_replaced
from provenafs.content.markers import put_marker
from provenafs.content.publisher import Attributes
from provenafs.content.touches import copy_object
from provenafs.content.volume import Volume, is_scratch
from provenafs.errors import FSError
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, Unavailable

USUAL_MODE = 0o644  # what a file shows without any of its own


class Changes:
    """What can be done to the names of a mount's datasets."""

    def __init__(self, files: Files, rename_limit: int) -> None:
        """`rename_limit`: how many objects a renamed directory may hold."""
        self._files = files
        self._index = files.index
        self._rename_limit = rename_limit

    # Making

    async def create(
        self, volume: Volume, directory: Entry, name: str, flags: int, mode: int = USUAL_MODE
    ) -> tuple[Entry, FileHandle]:
        """Create and open a file; an existing one is opened unless O_EXCL is given: EEXIST.

        `mode`: the permission bits of a new one.
        """
        key = volume.child_key(directory, name)
        await volume.may_write()
        await self._files.deletions.hurry(key)
        found = await volume.drive.lookup(directory, name)
        if found is not None:
            if flags & os.O_EXCL:
                raise FSError(errno.EEXIST)
            if found.kind is not Kind.OBJECT:
                raise FSError(errno.EISDIR)
            handle = self._files.open(volume, found, writing=True)
            try:
                if flags & os.O_TRUNC:
                    await handle.file.truncate(0)
            except BaseException:
                await handle.release()
                raise
            return found, handle
        self._files.admit()
        entry = self._index.allot(directory.ino, name, Kind.OBJECT)
        now = time.time_ns()
        own = None if mode == USUAL_MODE else mode
        self._index.update(entry.ino, staged=1, mtime_ns=now, ctime_ns=now, mode=own)
        entry = self._index.get(entry.ino) or entry
        return entry, self._files.open(volume, entry, writing=True)

    async def mkdir(self, volume: Volume, directory: Entry, name: str) -> Entry:
        """Make a directory. EEXIST."""
        key = volume.child_key(directory, name)
        await volume.may_write()
        await self._files.deletions.hurry(key)
        if await volume.drive.lookup(directory, name) is not None:
            raise FSError(errno.EEXIST)
        if not await put_marker(volume, key):
            self._index.expire(directory.ino)
            raise FSError(errno.EEXIST)
        entry = self._index.allot(directory.ino, name, Kind.DIRECTORY)
        now = time.time_ns()
        self._index.update(entry.ino, mtime_ns=now, ctime_ns=now, listed_at=now / 1e9)
        return self._index.get(entry.ino) or entry

    async def _keep_directory(self, volume: Volume, ino: int) -> None:
        """Mark a directory that has just lost a name, if it was the last one."""
        entry = self._index.get(ino)
        if entry is None or entry.kind is not Kind.DIRECTORY:
            return
        if not any(not child.staged for child in self._index.children(ino, limit=2)):
            await put_marker(volume, volume.drive.key(entry))

    # Removing

    async def unlink(self, volume: Volume, directory: Entry, name: str) -> None:
        """Remove a file. ENOENT, EISDIR; ESTALE if somebody else has changed it.

        The first of many waits for the bucket, and tells what is wrong; the others are deleted
        behind.
        """
        await volume.may_write()
        is_one_of_many = await self._files.deletions.takes_over(volume)
        entry = await self._existing(volume, directory, name)
        if entry.kind is not Kind.OBJECT:
            raise FSError(errno.EISDIR)
        key = volume.drive.key(entry)
        self._files.deletions.tell(volume, key)
        file, etag = self._files.known(entry.ino), entry.etag
        if file is None:
            if etag is not None and is_one_of_many:
                self._files.touches.cancel(entry.ino)
                await self._files.deletions.delete_behind(volume, key, etag)
            else:
                await self._delete(volume, entry, key, etag)
            self._index.remove(entry.ino)
        else:
            async with file.moving:
                etag = file.etag
                await self._unlink_known(volume, entry, file)
            await self._files.settle(file)
        self._files.touches.cancel(entry.ino)
        if etag is not None:
            await self._keep_directory(volume, directory.ino)
        self._files.deletions.unlinked()

    async def _unlink_known(self, volume: Volume, entry: Entry, file: File) -> None:
        """The name goes at once; the object of an open file stays until it is released."""
        if file.etag is not None and file.uses and not file.is_complete:
            await self._files.deletions.delete_when_released(volume, file, file.etag)
        else:
            await self._delete(volume, entry, file.key, file.etag)
        await file.unlink()
        self._index.remove(entry.ino)

    async def _delete(self, volume: Volume, entry: Entry, key: str, etag: str | None) -> None:
        if etag is None:
            return
        try:
            await volume.writer.delete(key, etag)
        except PreconditionFailed:
            self._index.expire(entry.parent)
            raise FSError(errno.ESTALE, f"{key} was changed by somebody else") from None
        except Unavailable:  # which may have been carried out
            volume.drive.look_again(entry)
            raise

    async def rmdir(self, volume: Volume, directory: Entry, name: str) -> None:
        """Remove an empty directory. ENOENT, ENOTDIR, ENOTEMPTY."""
        await volume.may_write()
        entry = await self._existing(volume, directory, name)
        if entry.kind is Kind.OBJECT:
            raise FSError(errno.ENOTDIR)
        if self._index.children(entry.ino, limit=1):
            raise FSError(errno.ENOTEMPTY)
        prefix = volume.drive.key(entry) + "/"
        await self._files.deletions.hurry_below(prefix)
        page = await volume.drive.bucket.list(prefix, delimiter="", max_keys=2)
        if any(found.key != prefix for found in page.objects):
            self._index.expire(entry.ino)
            raise FSError(errno.ENOTEMPTY)
        for found in page.objects:
            await volume.writer.delete(prefix, found.etag)
        self._index.remove(entry.ino)
        await self._keep_directory(volume, directory.ino)

    # Renaming

    async def rename(
        self,
        volume: Volume,
        directory: Entry,
        name: str,
        target: Entry,
        new_name: str,
        *,
        replace: bool,
    ) -> None:
        """Move `name` of `directory` to `new_name` of `target`, in the same dataset.

        EEXIST unless `replace`; ENOENT, EISDIR, ENOTDIR, ENOTEMPTY; EXDEV for a directory with
        too many objects; ESTALE if somebody else has changed either.
        """
        new_key = volume.child_key(target, new_name)
        await volume.may_write()
        await self._files.deletions.hurry(new_key)
        entry = await self._existing(volume, directory, name)
        found = await volume.drive.lookup(target, new_name)
        if found is not None and not replace:
            raise FSError(errno.EEXIST)
        if found is not None and found.ino == entry.ino:
            return
        if entry.kind is Kind.OBJECT:
            moved = await self._rename_file(volume, entry, target, new_name, new_key, found)
        else:
            moved = True
            await self._make_way(volume, target, found)
            await rename_directory(
                self._files, volume, entry, target, new_name, new_key, self._rename_limit
            )
        if moved:
            await self._keep_directory(volume, directory.ino)

    async def _make_way(self, volume: Volume, target: Entry, found: Entry | None) -> None:
        if found is None:
            return
        if found.kind is Kind.OBJECT:
            raise FSError(errno.ENOTDIR)
        await self.rmdir(volume, target, found.name)

    async def _rename_file(
        self,
        volume: Volume,
        entry: Entry,
        target: Entry,
        new_name: str,
        new_key: str,
        found: Entry | None,
    ) -> bool:
        """Rename a file; whether the bucket has lost a key by it."""
        if found is not None and found.kind is not Kind.OBJECT:
            raise FSError(errno.EISDIR)
        async with AsyncExitStack() as uses:
            file = await uses.enter_async_context(self._files.using(volume, entry))
            replaced = None
            if found is not None:
                replaced = await uses.enter_async_context(self._files.using(volume, found))
            # Only with the locks is it sure that no publication to the old key is under way.
            async with AsyncExitStack() as moving:
                await lock_all(moving, filter(None, (file, replaced)))
                unpublished = file.is_unpublished
                if unpublished:
                    await self._rename_unpublished(file, entry, target, new_name, new_key, replaced)
            if not unpublished:
                await self._rename_object(volume, file, entry, target, new_name, new_key, replaced)
        return not unpublished

    async def _rename_unpublished(
        self,
        file: File,
        entry: Entry,
        target: Entry,
        new_name: str,
        new_key: str,
        replaced: File | None,
    ) -> None:
        """Only the name changes here; over another object it takes that one's place."""
        await file.restart_upload()
        if replaced is not None:
            async with being_replaced(replaced, self._files.content.s3.io_timeout):
                if is_scratch(new_name):
                    await self._discard_target(replaced)
                else:
                    await self._replace(replaced)
        etag, size = (None, 0) if replaced is None else (replaced.etag, replaced.object_size)
        await file.move(new_key, new_name, etag, size, replaces=True)
        self._index.move(entry.ino, target.ino, new_name)

    async def _replace(self, replaced: File) -> None:
        """The object stays until ours replaces it; its file is gone from the mount."""
        await replaced.unlink()
        self._index.remove(replaced.ino)

    async def _discard_target(self, replaced: File) -> None:
        if replaced.etag is not None:
            await replaced.volume.writer.delete(replaced.key, replaced.etag)
            replaced.etag = None
        await replaced.unlink()
        self._index.remove(replaced.ino)

    async def _rename_object(
        self,
        volume: Volume,
        file: File,
        entry: Entry,
        target: Entry,
        new_name: str,
        new_key: str,
        replaced: File | None,
    ) -> None:
        if file.changed or file.is_owed:
            await file.store_now()
        async with AsyncExitStack() as moving:
            await lock_all(moving, filter(None, (file, replaced)))
            source, source_etag = file.key, file.etag
            assert source_etag is not None
            expected = None if replaced is None else replaced.etag
            timeout = self._files.content.s3.io_timeout
            await moving.enter_async_context(being_replaced(replaced, timeout))
            try:
                etag = await self._copy_renamed(
                    volume, entry, file, source, source_etag, new_key, expected
                )
            except (PreconditionFailed, NoSuchKey):
                self._index.expire(entry.parent)
                self._index.expire(target.ino)
                message = f"{source} or {new_key} was changed by somebody else"
                raise FSError(errno.ESTALE, message) from None
            if replaced is not None:
                await self._replace(replaced)
            self._index.move(entry.ino, target.ino, new_name)
            self._index.update(entry.ino, etag=etag)
            await file.move(new_key, new_name, etag)
            # Another object that somebody has stored under the old name meanwhile is theirs.
            with suppress(PreconditionFailed):
                await volume.writer.delete(source, source_etag)

    async def _copy_renamed(
        self,
        volume: Volume,
        entry: Entry,
        file: File,
        source: str,
        source_etag: str,
        key: str,
        expected: str | None,
    ) -> str:
        """Copy an object to its new key, with attributes that were set and it does not have yet."""
        current = self._index.get(entry.ino) or entry
        if not self._files.touches.cancel(entry.ino):
            return await volume.writer.copy(
                source, source_etag, key, expected,
                size=file.size, storage_class=current.storage_class,
            )  # fmt: skip
        attributes = Attributes(current.mtime_ns, current.mode)
        write_id = uuid.uuid4().hex
        try:
            return await copy_object(
                volume, source, source_etag, key, expected, write_id, attributes
            )
        except BaseException:
            self._files.touches.add(volume, entry.ino)
            raise

    async def _existing(self, volume: Volume, directory: Entry, name: str) -> Entry:
        entry = await volume.drive.lookup(directory, name)
        if entry is None:
            raise FSError(errno.ENOENT)
        return entry
