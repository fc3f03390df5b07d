"""One mount from start to end: builds the rooms, serves the kernel, unmounts."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from provenafs import __version__
from provenafs.assembly import Listeners, open_context
from provenafs.catalog.catalog import Catalog
from provenafs.config import ConfigError, Settings
from provenafs.content.listing.index import Invalidation
from provenafs.content.recovery import Recovery
from provenafs.content.writing.descriptors import raise_limit
from provenafs.fuse.connection import Connection
from provenafs.fuse.mountpoint import Mounted, MountError, mounted_at, prepare, unmount
from provenafs.fuse.neighbours import Indexers
from provenafs.fuse.notifier import notify_kernel
from provenafs.fuse.operations import Operations
from provenafs.fuse.shared import Ownership, SharedOperations
from provenafs.fuse.signals import obey_signals
from provenafs.fuse.supervisor import keep_alive, notify
from provenafs.guard import Background
from provenafs.provena.client import Provena
from provenafs.tree.context import Context
from provenafs.tree.tree import Tree

log = logging.getLogger(__name__)

# pyfuse3 serves 99 requests at once by default: a hundred closes waiting for uploads would hold
# up an unrelated stat. Tasks are made as needed and end when idle.
_REQUESTS_AT_ONCE = 400
# The kernel's default of 128 KiB makes large reads slow; setting it needs root.
_READ_AHEAD_KIB = 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


async def serve(
    settings: Settings,
    mountpoint: Path,
    ready: Callable[[], None],
    reload: Callable[[], Settings] | None = None,
) -> None:
    """Mount at `mountpoint` and serve until it is unmounted, or SIGINT or SIGTERM comes.

    `ready` is called once the mount answers. SIGHUP calls `reload` for new settings, of which
    the TTL is put to use; without it, SIGHUP ends the mount as SIGTERM does. SIGUSR1 switches
    debug lines in the log on and off. Raises MountError, ProvenaError or ConfigError with one
    sentence if it cannot be mounted.
    """
    _share_one_heap()  # before there are threads
    raise_limit()
    await trio.to_thread.run_sync(prepare, mountpoint)
    send, receive = trio.open_memory_channel[Sequence[Invalidation]](math.inf)
    async with Provena.connect(settings) as provena:
        session = _Session(settings, mountpoint, await provena.username())
        listeners = Listeners(send.send_nowait, session.note_failure, session.status)
        async with open_context(settings, provena, listeners) as context:
            await _check_access(context.catalog)
            await session.run(context, receive, ready, _reloading(context, reload))
            await _drain(context)


def _share_one_heap() -> None:
    """Let all threads use the room that one of them has freed (mallopt(3)).

    By default glibc keeps a heap for each of several threads. With blocks of megabytes that pass
    from thread to thread a mount then holds twice what it uses.
    """
    with suppress(AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        library.mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)


async def _check_access(catalog: Catalog) -> None:
    """Fail before mounting, in words, where every later operation would fail with an errno."""
    for handle in catalog.only:
        await catalog.dataset(handle)
    await catalog.datasets()


class _Session:
    """A mount being served."""

    def __init__(self, settings: Settings, mountpoint: Path, user: str) -> None:
        self._settings = settings
        self._mountpoint = mountpoint
        self._user = user
        self._started = time.time()
        self._operations: Operations | None = None
        self._background: Sequence[Background] = ()
        self._answers = trio.Event()
        self._catalog: Catalog | None = None
        self._mounted: Mounted | None = None
        self._connection: Connection | None = None

    async def run(
        self,
        context: Context,
        changes: trio.MemoryReceiveChannel[Sequence[Invalidation]],
        ready: Callable[[], None],
        reload: Callable[[], None] | None,
    ) -> None:
        """Serve until unmounted or stopped by a signal; unmounts in every case."""
        self._catalog = context.catalog
        neighbours = Indexers(self._settings.indexers)
        self._operations = _operations(self._settings, Tree(context), neighbours)
        self._initialise(self._operations)
        recovery = Recovery(context.store, context.volume_of)
        try:
            if not self._settings.read_only:
                await recovery.adopt()
            async with trio.open_nursery() as nursery:
                background = Background(nursery)
                self._background = [context.content.nursery, context.store.nursery, background]
                background.start_soon(
                    notify_kernel, changes, self._abort, self._operations.tree.path
                )
                background.start_soon(self._operations.callers.watch)
                background.start_soon(obey_signals, nursery.cancel_scope, reload)
                nursery.start_soon(self._begin, ready)
                background.start_soon(self._resume, recovery)
                background.start_soon(self._keep_alive)
                await pyfuse3.main(max_tasks=_REQUESTS_AT_ONCE)
                nursery.cancel_scope.cancel()
        finally:
            notify("STOPPING=1", "STATUS=storing what was written")
            pyfuse3.close(unmount=True)
            self._detach()

    def _initialise(self, operations: Operations) -> None:
        options = {f"fsname=provena:{self._settings.profile}", "subtype=provenafs"}
        if self._settings.allow_other:
            options.add("allow_other")
        if self._settings.read_only:
            options.add("ro")
        if self._settings.noexec:
            options.add("noexec")
        try:
            pyfuse3.init(operations, str(self._mountpoint), options)
        except RuntimeError as error:
            hint = (
                ": --allow-other needs the line user_allow_other in /etc/fuse.conf"
                if self._settings.allow_other and os.getuid() != 0
                else ", see the line of fusermount3 above"
            )
            raise MountError(f"{self._mountpoint} could not be mounted{hint}") from error

    async def _begin(self, ready: Callable[[], None]) -> None:
        """Say so when the mount answers; one that does not has failed."""
        await trio.to_thread.run_sync(self._look_at_the_mount, abandon_on_cancel=True)
        await trio.to_thread.run_sync(self._mountpoint.stat, abandon_on_cancel=True)
        log.info("mounted at %s", self._mountpoint)
        # The objects that exist now stay: a full collection would spend 50 ms on them each time.
        gc.freeze()
        ready()
        notify("READY=1", f"STATUS=mounted at {self._mountpoint} as {self._user}")
        self._answers.set()

    async def _resume(self, recovery: Recovery) -> None:
        """Complete the work left by earlier mounts without delaying this one."""
        await self._answers.wait()
        await recovery.resume()

    async def _keep_alive(self) -> None:
        await self._answers.wait()
        # A stat may be answered by the kernel; this is not.
        await keep_alive(partial(os.statvfs, self._mountpoint))

    def _look_at_the_mount(self) -> None:
        """Let the kernel ask for more at once, which only root may, and find its connection."""
        mount = mounted_at(self._mountpoint)
        if mount is not None:
            self._mounted, self._connection = mount, Connection(mount)
            with suppress(OSError):
                setting = Path(f"/sys/class/bdi/{mount.device}/read_ahead_kb")
                setting.write_text(str(_READ_AHEAD_KIB))

    def _abort(self) -> bool:
        return self._connection is not None and self._connection.abort()

    def _detach(self) -> None:
        """A mount whose connection was aborted is left where it was by libfuse."""
        if self._mounted is not None and mounted_at(self._mountpoint) == self._mounted:
            with suppress(MountError):
                unmount(self._mountpoint, lazy=True)

    def status(self) -> dict[str, object]:
        """`.provenafs/status.json`; sizes in bytes, times in seconds since the epoch."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "mountpoint": str(self._mountpoint),
            "profile": self._settings.profile,
            "user": self._user,
            "datastore": self._settings.services.datastore,
            "read_only": self._settings.read_only,
            "started": self._started,
            "peak_rss": usage.ru_maxrss * 1024,
            "background_failures": dict(sum((one.failures for one in self._background), Counter())),
            "not_shown": [] if self._catalog is None else list(self._catalog.left_out),
            **({} if self._operations is None else self._operations.account()),
        }

    def note_failure(self, ino: int, error: Exception) -> None:
        """A file could not be stored after its close was answered: keep the words."""
        if self._operations is not None:
            self._operations.note_failure(ino, error)


def _operations(settings: Settings, tree: Tree, neighbours: Indexers) -> Operations:
    """ConfigError where an owner is set that nobody but the owner would see."""
    uid, gid, umask = settings.uid, settings.gid, settings.umask
    if settings.allow_other:
        ownership = Ownership(
            os.getuid() if uid is None else uid, os.getgid() if gid is None else gid, umask
        )
        return SharedOperations(tree, neighbours, ownership)
    if (uid, gid, umask) != (None, None, None):
        raise ConfigError(
            "uid, gid and umask are for a mount that other users may enter: set allow_other"
            " (--allow-other) too"
        )
    return Operations(tree, neighbours)


def _reloading(
    context: Context, reload: Callable[[], Settings] | None
) -> Callable[[], None] | None:
    if reload is None:
        return None

    def apply() -> None:
        ttl = reload().ttl
        context.catalog.ttl = context.content.ttl = ttl
        log.info("settings read again: listings are trusted for %g s", ttl)

    return apply


async def _drain(context: Context) -> None:
    """Store what was acknowledged; a signal leaves the rest to the next mount."""

    async def give_up_on_signal(scope: trio.CancelScope) -> None:
        # SIGHUP and SIGUSR1, which mean nothing any more, must not end the process.
        with trio.open_signal_receiver(
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1
        ) as signals:
            async for number in signals:
                if number in (signal.SIGINT, signal.SIGTERM):
                    log.warning("told to end: what is not stored yet is left to the next mount")
                    scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up_on_signal, nursery.cancel_scope)
        nursery.start_soon(keep_alive, lambda: None)
        await context.store.drain()
        nursery.cancel_scope.cancel()
