"""sync: wait until written data is stored, and show progress."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from provenafs.cli.live import pending
from provenafs.cli.output import print_json, say
from provenafs.cli.progress import progress_of_bytes
from provenafs.fuse.mountpoint import MountError, containing, our_mounts
from provenafs.lib.deadline import Call

_LOOK_EVERY_S = 0.2
_WORTH_A_LINE_S = 2.0
_SILENT_S = 10.0  # a mount that answers nothing for so long is stuck


class NotStored(MountError):
    """Not everything that was written is stored; `reason` is half a sentence."""

    def __init__(self, mountpoint: Path, reason: str) -> None:
        super().__init__(f"{reason} in {mountpoint}: see 'provenafs recover list'.")
        self.reason = reason


def sync(
    path: Annotated[
        Path | None,
        typer.Argument(help="Any path in a mount; without one, all mounts.", parser=Path),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Wait until all written data is stored."""
    if path is None:
        mountpoints = [mounted.path for mounted in our_mounts()]
    else:
        found = containing(path)
        if found is None:
            raise MountError(f"{path} is not in a provenafs mount: see 'provenafs status'.")
        mountpoints = [found.path]
    began = time.monotonic()
    for mountpoint in mountpoints:
        wait_until_stored(mountpoint)
    if as_json:
        print_json({"stored": [str(mountpoint) for mountpoint in mountpoints]})
    elif time.monotonic() - began > _WORTH_A_LINE_S:
        for mountpoint in mountpoints:
            say(f"All that was written in {mountpoint} is stored.")


def wait_until_stored(mountpoint: Path, within: float = math.inf) -> None:
    """fsync the mount's root with a progress line; NotStored if that fails or takes too long.

    `within` is in seconds. The kernel passes neither sync(2) nor syncfs(2) on to a FUSE
    filesystem, but it does fsync.
    """

    def store() -> None:
        descriptor = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    call = Call(store)
    if not call.ends(_LOOK_EVERY_S):
        _show_progress(mountpoint, call, time.monotonic() + within)
    try:
        call.result()
    except OSError as error:
        reason = f"not everything could be stored ({error.strerror})"
        raise NotStored(mountpoint, reason) from error


def _show_progress(mountpoint: Path, call: Call[None], deadline: float) -> None:
    heard = time.monotonic()
    with progress_of_bytes() as progress:
        line = progress.add_task("storing", total=None)
        while not call.ends(_LOOK_EVERY_S):
            if time.monotonic() > deadline:
                raise NotStored(mountpoint, "not everything was stored in time")
            try:
                transfers = pending(mountpoint)
            except TimeoutError:
                if time.monotonic() - heard > _SILENT_S:
                    raise MountError(
                        f"{mountpoint} does not answer: see 'provenafs status'."
                    ) from None
                continue
            heard = time.monotonic()
            progress.update(
                line,
                description=f"storing {len(transfers)} files",
                total=sum(transfer["size"] for transfer in transfers) or None,
                completed=sum(transfer["sent"] for transfer in transfers),
            )
