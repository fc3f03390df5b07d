"""Cache invalidations: the kernel forgets names and inodes that other clients have changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

from provenafs.content.listing.index import Invalidation
from provenafs.guard import in_thread

log = logging.getLogger(__name__)

_IDLE_WITHIN_S = 2.0


async def notify_kernel(
    changes: trio.MemoryReceiveChannel[Sequence[Invalidation]],
    abort: Callable[[], bool],
    path: Callable[[int], str],
) -> None:
    """Make the kernel forget each changed name and inode, until the channel closes.

    `abort` ends the kernel's connection, where that is allowed; `path` is that of an inode.
    In a thread: the calls block while the kernel finishes operations on the same directory, which
    this process has to serve meanwhile. From a handler they would deadlock, awaited or not.
    """
    limiter = trio.CapacityLimiter(1)
    try:
        async for batch in changes:
            failed = await in_thread(_notify, batch, limiter=limiter, abandon_on_cancel=True)
            for change, error in failed:
                directory = path(change.parent)
                log.error("the kernel still shows %r in %s: %s", change.name, directory, error)
    finally:
        await _free_thread(limiter, abort)


async def _free_thread(limiter: trio.CapacityLimiter, abort: Callable[[], bool]) -> None:
    """Wait for the thread, which may be stuck waiting for a request that is never answered.

    The kernel would keep the process for it, even one that is killed: the connection is aborted.
    """
    if await _is_idle(limiter):
        return
    log.warning("the kernel does not release the mount: its connection is aborted")
    if not (abort() and await _is_idle(limiter)):
        log.error(
            "the connection could not be aborted: see 'A mount that hangs' in troubleshooting"
        )


async def _is_idle(limiter: trio.CapacityLimiter) -> bool:
    with trio.move_on_after(_IDLE_WITHIN_S, shield=True):
        async with limiter:
            return True
    return False


def _notify(batch: Sequence[Invalidation]) -> list[tuple[Invalidation, Exception]]:
    """Returns those that failed; that the kernel does not know a name or an inode is no failure."""
    failed: list[tuple[Invalidation, Exception]] = []
    for change in batch:
        if change.name:
            try:
                pyfuse3.invalidate_entry(InodeT(change.parent), FileNameT(change.name.encode()))
            except OSError:
                pass
            except Exception as error:
                failed.append((change, error))
        with suppress(OSError):
            pyfuse3.invalidate_inode(InodeT(change.ino), attr_only=not change.name)
    return failed
