"""sync: wait until what was written is stored, and show how it goes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from provenafs.cli.live import pending
from provenafs.cli.progress import progress_of_bytes
from provenafs.fuse.mountpoint import MountError, containing, our_mounts

_LOOK_EVERY_S = 0.2


def sync(
    path: Annotated[
        Path | None, typer.Argument(help="Any path in a mount; without one, all mounts.")
    ] = None,
) -> None:
    """Wait until all written data is stored."""
    if path is None:
        for mounted in our_mounts():
            wait_until_stored(mounted.path)
        return
    found = containing(path.absolute())
    if found is None:
        raise MountError(f"{path} is not in a provenafs mount: see 'provenafs status'.")
    wait_until_stored(found.path)


def wait_until_stored(mountpoint: Path) -> None:
    """fsync the mount's root with a progress line; raises MountError if a file could not be stored.

    The kernel passes neither sync(2) nor syncfs(2) on to a FUSE filesystem, but it does fsync.
    """
    failure: list[OSError] = []

    def wait() -> None:
        try:
            descriptor = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(_LOOK_EVERY_S)
    if thread.is_alive():
        _show_progress(mountpoint, thread)
    if failure:
        raise MountError(
            f"not everything in {mountpoint} could be stored ({failure[0].strerror}):"
            " see 'provenafs recover list'."
        )


def _show_progress(mountpoint: Path, thread: threading.Thread) -> None:
    with progress_of_bytes() as progress:
        line = progress.add_task("storing", total=None)
        while thread.is_alive():
            transfers = pending(mountpoint)
            progress.update(
                line,
                description=f"storing {len(transfers)} files",
                total=sum(transfer["size"] for transfer in transfers) or None,
                completed=sum(transfer["sent"] for transfer in transfers),
            )
            thread.join(_LOOK_EVERY_S)
