"""What a shell can complete: profiles, mount points, handles of mounted datasets."""

from __future__ import annotations

from pathlib import Path

from provenafs.config import profile_names
from provenafs.fuse.mountpoint import our_mounts
from provenafs.lib.deadline import within
from provenafs.provena.handles import handle_of, is_usual

_ANSWER_WITHIN_S = 0.5  # somebody waits at a keyboard


def profiles(incomplete: str) -> list[str]:
    """The names of profiles."""
    return [name for name in profile_names() if name.startswith(incomplete)]


def mount_points(incomplete: str) -> list[str]:
    """Where drives are mounted."""
    paths = (str(mounted.path) for mounted in our_mounts())
    return [path for path in paths if path.startswith(incomplete)]


def targets(incomplete: str) -> list[str]:
    """The handles of the datasets of all mounts that answer at once; paths are the shell's own."""
    handles = {handle for mounted in our_mounts() for handle in _handles(mounted.path)}
    return [handle for handle in sorted(handles) if handle.startswith(incomplete)]


def _handles(mountpoint: Path) -> list[str]:
    try:
        found = within(_ANSWER_WITHIN_S, lambda: list(mountpoint.iterdir()))
    except OSError:
        return []
    return [handle for path in found if (handle := handle_of(path.name)) and is_usual(handle)]
