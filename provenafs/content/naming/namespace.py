"""Operations on names: open for writing, create, mkdir, unlink, rmdir and rename.

A directory is a common prefix of keys; one that would be left without any gets a marker, an empty
object whose key ends in a slash. Every function raises FSError or S3Error and changes the index
only after the bucket.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence

from provenafs.content.claims import Name, Place
from provenafs.content.listing.index import Entry, Kind
from provenafs.content.naming.markers import put_marker
from provenafs.content.naming.renames import Renames
from provenafs.content.naming.services import NamingServices
from provenafs.content.volume import Volume, check_length
from provenafs.content.writing.file import File
from provenafs.content.writing.name_changes import NameChanges
from provenafs.content.writing.open_files import FileHandle
from provenafs.errors import FSError
from provenafs.s3.errors import PreconditionFailed, Unavailable
from provenafs.s3.types import ObjectInfo

USUAL_MODE = 0o644  # what a file shows without any of its own


class Namespace:
    """Changes to the names of a mount's datasets."""

    def __init__(self, services: NamingServices, rename_limit: int) -> None:
        """`rename_limit`: how many objects a renamed directory may hold."""
        self._services = services
        self._files = services.files
        self._index = services.content.index
        self._renames = Renames(services, rename_limit)

    # Opening

    async def open(self, volume: Volume, entry: Entry, flags: int) -> FileHandle:
        """Open a file; for writing once nobody renames or removes it. ESTALE if it is gone."""
        if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_TRUNC:
            await self._files.left_alone(entry.ino)
            return self._files.open(volume, entry)
        await volume.may_write()
        async with self._services.claims.use_file(volume, entry.ino):
            await self._files.left_alone(entry.ino)
            return await self._open(volume, entry, flags)

    async def _open(self, volume: Volume, entry: Entry, flags: int) -> FileHandle:
        handle = self._files.open(volume, entry, writing=True)
        try:
            if flags & os.O_TRUNC:
                await handle.file.truncate(0)
        except BaseException:
            await handle.release()
            raise
        return handle

    async def truncate(self, volume: Volume, entry: Entry, size: int) -> None:
        """Cut or extend a file with zeros; published at once unless a handle is open."""
        async with self._services.claims.use_file(volume, entry.ino):
            await self._files.truncate(volume, entry, size)

    # Making

    async def create(
        self, volume: Volume, directory: Entry, name: str, flags: int, mode: int = USUAL_MODE
    ) -> tuple[Entry, FileHandle]:
        """Create and open a file; an existing one is opened unless O_EXCL is given: EEXIST.

        `mode`: the permission bits of a new one.
        """
        await volume.may_write()
        async with self._services.claims.use(volume, directory, name) as place:
            volume.check_new(place.key)
            await self._services.deferred_deletes.wait_for_delete(place.key)
            found = await volume.drive.lookup(place.directory, name)
            if found is not None:
                if flags & os.O_EXCL:
                    raise FSError(errno.EEXIST)
                if found.kind is not Kind.OBJECT:
                    raise FSError(errno.EISDIR)
                return found, await self._open(volume, found, flags)
            self._files.admit()
            entry = self._index.create(directory.ino, name, Kind.OBJECT)
            now = time.time_ns()
            own = None if mode == USUAL_MODE else mode
            self._index.update(entry.ino, staged=1, mtime_ns=now, ctime_ns=now, mode=own)
            entry = self._index.get(entry.ino) or entry
            return entry, self._files.open(volume, entry, writing=True)

    async def mkdir(self, volume: Volume, directory: Entry, name: str) -> Entry:
        """Make a directory. EEXIST."""
        await volume.may_write()
        async with self._services.claims.use(volume, directory, name) as place:
            volume.check_new(place.key)
            check_length(f"{place.key}/")
            await self._services.deferred_deletes.wait_for_delete(place.key)
            if await volume.drive.lookup(place.directory, name) is not None:
                raise FSError(errno.EEXIST)
            if not await put_marker(volume, place.key):
                self._index.expire(directory.ino)
                raise FSError(errno.EEXIST)
            entry = self._index.get_or_create(directory.ino, name, Kind.DIRECTORY)
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
        """Remove a file. ENOENT, EISDIR; ESTALE if another client has changed it.

        The first of many waits for the bucket and raises its error; the others are deleted
        in the background.
        """
        await volume.may_write()
        is_one_of_many = await self._services.deferred_deletes.should_defer(volume)
        async with self._services.claims.change(volume, Name(directory, name)) as (place,):
            entry = await self._existing(place)
            if entry.kind is not Kind.OBJECT:
                raise FSError(errno.EISDIR)
            self._services.deferred_deletes.tell(volume, place.key)
            if self._files.known(entry.ino) is None:
                etag = entry.etag
                async with self._files.going(entry.ino):
                    await self._unlink_unknown(place, entry, is_one_of_many)
            else:
                async with (
                    self._files.using(volume, entry) as file,
                    file.name_lock,
                    self._files.going(entry.ino),
                ):
                    etag = file.etag
                    await self._unlink_known(volume, entry, file)
            self._services.attribute_updates.cancel(entry.ino)
            if etag is not None:
                await self._keep_directory(volume, directory.ino)
        self._services.deferred_deletes.unlinked()

    async def _unlink_unknown(self, place: Place, entry: Entry, is_one_of_many: bool) -> None:
        if entry.etag is not None and is_one_of_many:
            self._services.attribute_updates.cancel(entry.ino)
            await self._services.deferred_deletes.delete_in_background(
                place.volume, place.key, entry.etag
            )
        else:
            await self._delete(place.volume, entry, place.key, entry.etag)
        self._index.remove(entry.ino)

    async def _unlink_known(self, volume: Volume, entry: Entry, file: File) -> None:
        """The name goes at once; the object of an open file stays until it is released."""
        await file.give_up_upload()
        if file.etag is not None and file.uses > 1 and not file.is_complete:
            await self._services.deferred_deletes.delete_when_released(volume, file, file.etag)
        else:
            await self._delete(volume, entry, file.key, file.etag)
        await NameChanges().unlink(file).make(self._services.journal)
        self._index.remove(entry.ino)

    async def _delete(self, volume: Volume, entry: Entry, key: str, etag: str | None) -> None:
        if etag is None:
            return
        try:
            await volume.writer.delete(key, etag)
        except PreconditionFailed:
            self._index.expire(entry.parent)
            raise FSError(errno.ESTALE, f"{key} was changed by another client") from None
        except Unavailable:  # which may have been carried out
            volume.drive.invalidate(entry)
            raise

    async def rmdir(self, volume: Volume, directory: Entry, name: str) -> None:
        """Remove an empty directory. ENOENT, ENOTDIR, ENOTEMPTY."""
        await volume.may_write()
        async with self._services.claims.change(volume, Name(directory, name)) as (place,):
            entry = await self._existing(place)
            if entry.kind is Kind.OBJECT:
                raise FSError(errno.ENOTDIR)
            for marker in await self._markers_only(place, entry):
                await volume.writer.delete(marker.key, marker.etag)
            self._index.remove(entry.ino)
            await self._keep_directory(volume, directory.ino)

    async def _markers_only(self, place: Place, entry: Entry) -> Sequence[ObjectInfo]:
        """The markers of an empty directory; ENOTEMPTY if it has other objects."""
        if self._index.children(entry.ino, limit=1):
            raise FSError(errno.ENOTEMPTY)
        prefix = f"{place.key}/"
        await self._services.deferred_deletes.wait_for_deletes_below(prefix)
        page = await place.volume.drive.bucket.list(prefix, delimiter="", max_keys=2)
        if any(found.key != prefix for found in page.objects):
            self._index.expire(entry.ino)
            raise FSError(errno.ENOTEMPTY)
        return page.objects

    # Renaming

    async def rename(self, volume: Volume, name: Name, new_name: Name, *, replace: bool) -> None:
        """Give what has this name another one, in the same dataset.

        EEXIST unless `replace`; ENOENT, EISDIR, ENOTDIR, ENOTEMPTY; EXDEV for a directory with
        too many objects; ESTALE if another client has changed either.
        """
        await volume.may_write()
        async with self._services.claims.change(volume, name, new_name) as (source, target):
            volume.check_new(target.key)
            await self._services.deferred_deletes.wait_for_delete(target.key)
            entry = await self._existing(source)
            found = await volume.drive.lookup(target.directory, target.name)
            if found is not None and not replace:
                raise FSError(errno.EEXIST)
            if found is not None and found.ino == entry.ino:
                return
            if await self._rename(entry, source, target, found):
                await self._keep_directory(volume, source.directory.ino)

    async def _rename(
        self, entry: Entry, source: Place, target: Place, found: Entry | None
    ) -> bool:
        """Rename what was found; whether the bucket has lost a key by it."""
        if entry.kind is Kind.OBJECT:
            if found is not None and found.kind is not Kind.OBJECT:
                raise FSError(errno.EISDIR)
            return await self._renames.file(entry, source, target, found)
        if found is not None and found.kind is Kind.OBJECT:
            raise FSError(errno.ENOTDIR)
        if found is not None:
            await self._markers_only(target, found)
        await self._renames.directory(entry, source, target)
        return True

    async def _existing(self, place: Place) -> Entry:
        entry = await place.volume.drive.lookup(place.directory, place.name)
        if entry is None:
            raise FSError(errno.ENOENT)
        return entry
