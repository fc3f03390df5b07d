"""Following an object that another client has appended to, as a log is.

S3 has no append: a longer object replaces the one before. For whoever has that one open, it is the
same file grown where that is known: the version read so far is in the cache as a whole, the new
one begins with it, and is brought into the cache as a whole too, so that it can be followed in
turn. The inode stays, and no byte that was read is another by now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from provenafs.content.drive import Drive
from provenafs.content.listing.index import Invalidation
from provenafs.content.object_version import ObjectVersion
from provenafs.content.writing.file import File
from provenafs.content.writing.open_files import OpenFiles
from provenafs.s3.errors import PreconditionFailed
from provenafs.s3.types import ObjectInfo

log = logging.getLogger(__name__)

LARGEST = 16 * 1024 * 1024  # bytes: all of it is fetched each time it grows
_WITHIN_S = 5.0  # the listing waits for it
_TRIES = 3  # of an object that grows while it is looked at


class Following:
    """Follows the objects that open files of a mount are read from."""

    def __init__(self, files: OpenFiles, forget_attributes: Callable[[int], object]) -> None:
        """`forget_attributes`: those set for an inode are not the grown object's."""
        self._files = files
        self._forget_attributes = forget_attributes

    async def listed(self, objects: Sequence[ObjectInfo]) -> None:
        """A page of a LIST has come: follow what is open here, before the page is merged."""
        open_files = self._files.open_by_key()
        if not open_files:
            return
        with trio.move_on_after(_WITHIN_S):
            for found in objects:
                file = open_files.get(found.key)
                if file is not None and found.etag != file.etag and found.size > file.version.size:
                    await self._follow(file, found)

    async def _follow(self, file: File, found: ObjectInfo) -> None:
        """Follow to the version that was found, or to one that is there by now."""
        version = file.version
        if version.etag is None or not file.may_be_followed:
            return
        try:
            grown = await _grown(file.volume.drive, version, found)
        except Exception as error:  # also of the credential source; the next read gets it
            log.info("%s is not followed: %s", file.key, error)
            return
        # Whoever is about to change the file holds its lock and has looked at what it is.
        is_free = file.may_be_followed and not file.name_lock.locked()
        if grown is not None and file.version == version and is_free:
            self._adopt(file, grown)

    def _adopt(self, file: File, found: ObjectInfo) -> None:
        file.version = ObjectVersion(file.key, found.etag, found.size)
        index = self._files.index
        self._forget_attributes(file.ino)
        index.update(
            file.ino, size=found.size, etag=found.etag, modified_ns=found.modified_ns, mtime_ns=None
        )
        entry = index.get(file.ino)
        if entry is not None:
            self._files.content.changed([Invalidation(entry.parent, entry.name, entry.ino)])


async def _grown(drive: Drive, version: ObjectVersion, found: ObjectInfo) -> ObjectInfo | None:
    """The version that a cached one has grown to; None if it is another object."""
    if not drive.is_whole(version):
        return None
    for _ in range(_TRIES):
        if not version.size < found.size <= LARGEST:
            return None
        try:
            return found if await drive.is_longer(version, found) else None
        except PreconditionFailed:
            head = await drive.bucket.head(version.key)
            found = ObjectInfo(version.key, head.size, head.etag, head.modified_ns)
    return None
