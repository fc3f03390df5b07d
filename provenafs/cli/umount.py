"""umount: store pending data, unmount, and wait until the process has ended."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from provenafs.cli.completing import mount_points
from provenafs.cli.live import status_of
from provenafs.cli.output import say
from provenafs.cli.transfers import NotStored, wait_until_stored
from provenafs.fuse import mountpoint as mountpoints
from provenafs.fuse.connection import Connection, Server, server_of, users_of
from provenafs.fuse.mountpoint import Mounted, MountError

_UNMOUNT_WITHIN_S = 60
_ABORT_AFTER_S = 5
_KILL_AFTER_S = 10


def umount(
    mountpoint: Annotated[
        Path,
        # Not typer's own Path: it looks at the file, and a stuck mount does not answer.
        typer.Argument(
            help="Where the drive is mounted.",
            parser=Path,
            metavar="PATH",
            autocompletion=mount_points,
        ),
    ],
    force: Annotated[
        bool, typer.Option(help="Unmount at once; data that is not stored is left to recovery.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds for storing what was written; the rest is left to recovery."
        ),
    ] = 60.0,
) -> None:
    """Store pending data, unmount, and wait until the process has ended."""
    mounted = mountpoints.located(mountpoint)
    if mounted is None or mounted.filesystem_type != mountpoints.FILESYSTEM_TYPE:
        raise MountError(f"{mountpoint} is not a provenafs mount: see 'provenafs status'.")
    path = mounted.path
    is_alive = mountpoints.is_alive(path)
    server = server_of(mounted, status_of(path).get("pid")) if is_alive else None
    left = None
    with closing(Connection(mounted)) as connection:
        if is_alive and not force:
            left = _store(path, server, wait)
        at_once = force or left is not None
        if left is not None:
            # The pending wait for a store keeps the mount busy too: it can only be detached, and
            # then the kernel does not look who else does.
            _refuse_if_used(mounted)
        _unmount(mounted, lazy=at_once)
        if server is not None and not _has_ended(server, connection if at_once else None):
            raise MountError(
                f"{path} is unmounted, but its process {server.pid} is still running after"
                f" {_UNMOUNT_WITHIN_S} s: see its log."
            )
    if is_alive and server is None:
        raise MountError(
            f"{path} is unmounted, but which process served it is not known, nor whether that has"
            " ended: see its log."
        )
    if left is not None:
        raise MountError(f"{path} is unmounted, but {left}")


def _store(path: Path, server: Server | None, wait: float) -> str | None:
    """Store pending data; report what is not stored in time, since it is in recovery."""
    if server is not None and server.is_stopped:
        raise MountError(
            f"{path} does not answer: its process {server.pid} is stopped. Let it go on"
            f" (kill -CONT {server.pid}), or detach it with 'provenafs umount --force'."
        )
    try:
        wait_until_stored(path, wait)
    except NotStored as error:
        return f"{error.reason}: it is kept, see 'provenafs recover list'."
    return None


def _unmount(mounted: Mounted, *, lazy: bool) -> None:
    try:
        mountpoints.unmount(mounted.path, lazy=lazy)
    except MountError:
        _refuse_if_used(mounted)
        raise


def _refuse_if_used(mounted: Mounted) -> None:
    """Raise MountError with the processes that use a mount, if any can be seen."""
    users = [(name, pid) for name, pid in users_of(mounted) if pid != os.getpid()]
    if users:
        raise MountError(
            f"{mounted.path} could not be unmounted: it is used by"
            f" {', '.join(f'{name} (process {pid})' for name, pid in users)}. Close what is open"
            " there, or leave the directory."
        )


def _has_ended(server: Server, connection: Connection | None) -> bool:
    """Whether the process ends in time; if forced, its connection is aborted."""
    for second in range(_UNMOUNT_WITHIN_S):
        if connection is not None:
            server.tell_to_end()
            if second >= _ABORT_AFTER_S:
                connection.abort()
            # Acknowledged bytes are on the disk.
            if second >= _KILL_AFTER_S or server.is_stopped:
                server.kill()
        if server.has_ended(within=1.0):
            return True
        if connection is None and second == 1:
            with suppress(BrokenPipeError):
                say(f"waiting for process {server.pid} to end")
    return False
