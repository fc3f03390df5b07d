"""Fetching what open handles may still read of an object that this mount replaces or deletes.

A local disk keeps the bytes of a file without a name until its last handle is closed; a bucket
does not. So the object is brought here first, if it is not too large.
"""

from __future__ import annotations

import logging

import trio

from provenafs.content.drive import Drive
from provenafs.content.staging import StagedBytes, StagingArea
from provenafs.errors import FSError

log = logging.getLogger(__name__)

# Whoever replaces the file waits for it, and all who look into its directory meanwhile.
LARGEST = 256 * 1024 * 1024  # bytes
_SHARE_OF_TIMEOUT = 0.5  # others wait for `io_timeout` until the object is deleted


async def fetch_all(
    staged: StagedBytes, drive: Drive, key: str, size: int, etag: str, io_timeout: float
) -> bool:
    """Make `staged` hold all bytes of the object it was made from; False if they cannot be had.

    `size` in bytes.
    """
    if size > LARGEST:
        return False
    reader = drive.read(key, size, etag)
    try:
        with trio.move_on_after(io_timeout * _SHARE_OF_TIMEOUT):
            await staged.fill(reader.read)
            return True
    except Exception as error:  # also of the credential source; whoever replaces the file goes on
        log.info("%s is not kept for those who have it open: %s", key, error)
    finally:
        await reader.close()
    return False


async def keep(
    area: StagingArea, drive: Drive, key: str, size: int, etag: str, io_timeout: float
) -> StagedBytes | None:
    """All bytes of an object in a file without a name; None if they cannot be had."""
    if size > LARGEST:
        return None
    try:
        kept = await area.unnamed(size)
    except FSError as error:
        log.info("%s is not kept for those who have it open: %s", key, error)
        return None
    is_whole = False
    try:
        is_whole = await fetch_all(kept, drive, key, size, etag, io_timeout)
    finally:
        if not is_whole:
            await kept.discard()
    return kept if is_whole else None
