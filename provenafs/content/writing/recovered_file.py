"""A file rebuilt from the journal row of an earlier mount, to be stored."""

from __future__ import annotations

import errno
import itertools
from dataclasses import replace

from provenafs.content.journal_schema import Row
from provenafs.content.listing.index import Entry, Kind
from provenafs.content.object_version import ObjectVersion
from provenafs.content.volume import Volume
from provenafs.content.writing.file import File, FileEvents
from provenafs.content.writing.file_state import recovered
from provenafs.content.writing.publisher import reading
from provenafs.content.writing.services import FileServices
from provenafs.content.writing.working_copy import WorkingCopy
from provenafs.errors import FSError

_UNSHOWN = itertools.count(-1, -1)  # inode numbers of files that the mount does not show


async def recover_file(
    services: FileServices, events: FileEvents, volume: Volume, row: Row, key: str
) -> File:
    """The file of a row, to be stored at `key`. FSError if its bytes are gone.

    At its own key it replaces the object it was made from, at another one nothing.
    """
    if row.parts and key != row.key:
        message = f"part of it is in an unfinished upload to {row.key} only: send it there"
        raise FSError(errno.EIO, message)
    base = ObjectVersion(row.key, row.base_etag, row.base_size)
    if key != row.key:
        row = replace(row, base_etag=None)
    read_base = reading(services.uploads, volume, base)
    copy = await WorkingCopy.recover(services, volume, row, read_base)
    file = File(services, events, volume, _entry(row, key.rpartition("/")[2]), key)
    file.adopt(copy, recovered(row.state))
    return file


def _entry(row: Row, name: str) -> Entry:
    return Entry(
        ino=next(_UNSHOWN),
        parent=0,
        name=name,
        kind=Kind.OBJECT,
        size=row.base_size,
        etag=row.base_etag,
        modified_ns=0,
        mtime_ns=row.mtime_ns,
        ctime_ns=None,
        mode=row.mode,
        storage_class=None,
        staged=True,
        listed_at=0.0,
    )
