"""Tells the kernel what changed behind its back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

from provenafs.content.index import Change
from provenafs.guard import in_thread

log = logging.getLogger(__name__)


async def notify_kernel(changes: trio.MemoryReceiveChannel[Sequence[Change]]) -> None:
    """Make the kernel forget each changed name and inode, until the channel closes.

    In a thread: the calls block while the kernel finishes operations on the same directory, which
    this process has to serve meanwhile. From a handler they would deadlock, awaited or not.
    """
    limiter = trio.CapacityLimiter(1)
    async for batch in changes:
        await in_thread(_notify, batch, limiter=limiter)


def _notify(batch: Sequence[Change]) -> None:
    for change in batch:
        try:
            pyfuse3.invalidate_entry(InodeT(change.parent), FileNameT(change.name.encode()))
        except OSError:
            log.debug("the kernel did not know %s", change)
        except Exception as error:  # the kernel has to hear of the others
            log.error("the kernel was not told of %r: %s", change, error)
        try:
            pyfuse3.invalidate_inode(InodeT(change.ino))
        except OSError:
            log.debug("the kernel did not know inode %d", change.ino)
