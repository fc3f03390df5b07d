"""Keeps the bytes of objects that this mount replaces or deletes for their open handles.

A local disk keeps the bytes of a file without a name until its last handle is closed; a bucket
does not. So the object is brought here first, if it is not too large.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from provenafs.content.writing.file import File

log = logging.getLogger(__name__)

# Whoever replaces the file waits for it, and all who look into its directory meanwhile.
LARGEST = 256 * 1024 * 1024  # bytes
_SHARE_OF_TIMEOUT = 0.5  # others wait for `io_timeout` until the object is deleted


async def keep(file: File, io_timeout: float, own_uses: int = 0) -> None:
    """Fetch what is not here yet of a file's object, for other uses than the caller's own.

    Bytes that are too large or cannot be fetched in time are ESTALE later. Needs `name_lock`.
    """
    if file.etag is None or file.uses <= own_uses or file.is_complete:
        return
    if file.version.size > LARGEST:
        return
    reader = file.volume.drive.read(file.version)
    try:
        with trio.move_on_after(io_timeout * _SHARE_OF_TIMEOUT):
            await file.take_all(reader.read)
    except Exception as error:  # also of the credential source; the replacement continues
        log.info("the bytes of %s are not kept for open handles: %s", file.key, error)
    finally:
        await reader.close()


@asynccontextmanager
async def being_replaced(file: File, io_timeout: float) -> AsyncIterator[None]:
    """While one operation by name replaces the object of a file, with `name_lock` held."""
    await keep(file, io_timeout, own_uses=1)
    file.is_lost = True
    try:
        yield
    finally:
        file.is_lost = file.unlinked  # not if it failed before
