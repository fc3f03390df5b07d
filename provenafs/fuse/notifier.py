"""Tells the kernel what changed without it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

from provenafs.content.listing.index import Invalidation
from provenafs.guard import in_thread

log = logging.getLogger(__name__)

_IDLE_WITHIN_S = 2.0


async def notify_kernel(
    changes: trio.MemoryReceiveChannel[Sequence[Invalidation]], abort: Callable[[], bool]
) -> None:
    """Make the kernel forget each changed name and inode, until the channel closes.

    `abort` ends the kernel's connection, where that is allowed.
    In a thread: the calls block while the kernel finishes operations on the same directory, which
    this process has to serve meanwhile. From a handler they would deadlock, awaited or not.
    """
    limiter = trio.CapacityLimiter(1)
    try:
        async for batch in changes:
            await in_thread(_notify, batch, limiter=limiter, abandon_on_cancel=True)
    finally:
        await _let_go(limiter, abort)


async def _let_go(limiter: trio.CapacityLimiter, abort: Callable[[], bool]) -> None:
    """Wait for the thread, which may be stuck behind a request that nobody answers any more.

    The kernel would keep the process for it, even one that is killed: the connection is aborted.
    """
    if await _is_idle(limiter):
        return
    log.warning("the kernel does not let go of the mount: its connection is aborted")
    if not (abort() and await _is_idle(limiter)):
        log.error(
            "the connection could not be aborted: see 'A mount that hangs' in troubleshooting"
        )


async def _is_idle(limiter: trio.CapacityLimiter) -> bool:
    with trio.move_on_after(_IDLE_WITHIN_S, shield=True):
        async with limiter:
            return True
    return False


def _notify(batch: Sequence[Invalidation]) -> None:
    for change in batch:
        if not change.name:
            _forget_attributes(change.ino)
            continue
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


def _forget_attributes(ino: int) -> None:
    try:
        pyfuse3.invalidate_inode(InodeT(ino), attr_only=True)
    except OSError:
        log.debug("the kernel did not know inode %d", ino)
