"""Mount points: finding mounts, validating directories, unmounting."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from provenafs.lib.deadline import within

FILESYSTEM_TYPE = "fuse.provenafs"
_ANSWER_WITHIN_S = 5.0


class MountError(Exception):
    """Why a mount point cannot be used: one sentence for the terminal."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of /proc/self/mountinfo; `device` is major:minor as in /sys/class/bdi.

    `user` is who has mounted a FUSE filesystem; None for others.
    """

    path: Path
    filesystem_type: str
    device: str
    user: int | None

    def contains(self, path: Path) -> bool:
        """Whether an absolute path without links lies in it."""
        return path == self.path or self.path in path.parents

    @property
    def number(self) -> int:
        """The number of its FUSE connection, as in /sys/fs/fuse/connections."""
        return int(self.device.partition(":")[2])


def mounts() -> list[Mounted]:
    """All mounts this process sees (proc(5), /proc/pid/mountinfo)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        filesystem_type, options = after.split(" ")[0], after.rpartition(" ")[2]
        user = re.search(r"(?:^|,)user_id=(\d+)", options)
        path, device = Path(_unescape(fields[4])), fields[2]
        found.append(Mounted(path, filesystem_type, device, int(user[1]) if user else None))
    return found


def our_mounts() -> list[Mounted]:
    """The mounts of provenafs."""
    return [mount for mount in mounts() if mount.filesystem_type == FILESYSTEM_TYPE]


def mounted_at(path: Path) -> Mounted | None:
    """The mount exactly at `path`, the topmost if there are several."""
    found = [mount for mount in mounts() if mount.path == path]
    return found[-1] if found else None


def located(path: Path) -> Mounted | None:
    """The mount at a path that may contain symbolic links."""
    return mounted_at(path.absolute()) or mounted_at(resolved(path))


def containing(path: Path) -> Mounted | None:
    """The provenafs mount that a path, which may lead there through links, lies in."""
    absolute = path.absolute()
    return _around(absolute) or _around(resolved(absolute))


def _around(path: Path) -> Mounted | None:
    found = [mount for mount in our_mounts() if mount.contains(path)]
    return max(found, key=lambda mount: len(mount.path.parts), default=None)


def resolved(path: Path) -> Path:
    """An absolute path without links; with them where a filesystem on the way does not answer."""
    try:
        return Path(within(_ANSWER_WITHIN_S, lambda: os.path.realpath(path)))
    except OSError:
        return path.absolute()


def prepare(path: Path) -> None:
    """Make sure that `path`, without links, can be mounted on; clears a dead mount there.

    Raises MountError with one sentence.
    """
    if not Path("/dev/fuse").exists():
        raise MountError(
            "/dev/fuse is missing: load the kernel module (modprobe fuse), or start the container"
            " with --device /dev/fuse --cap-add SYS_ADMIN."
        )
    if shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is missing: install the package fuse3.")
    _clear_dead_mount(path)
    if mounted_at(path) is not None:
        raise MountError(f"{path} is already mounted: unmount it first (provenafs umount {path}).")
    _check_directory(path)


def _clear_dead_mount(path: Path) -> None:
    mount = mounted_at(path)
    if mount is not None and mount.filesystem_type == FILESYSTEM_TYPE and not is_alive(path):
        unmount(path, lazy=True)


def _check_directory(path: Path) -> None:
    try:
        if any(path.iterdir()):
            raise MountError(f"{path} is not empty: mount on an empty directory.")
    except FileNotFoundError:
        raise MountError(f"{path} does not exist: make it first (mkdir -p {path}).") from None
    except NotADirectoryError:
        raise MountError(f"{path} is not a directory: mount on an empty directory.") from None
    except PermissionError:
        raise MountError(f"{path} cannot be read by you: mount on a directory of yours.") from None
    if not os.access(path, os.W_OK):
        raise MountError(f"{path} is not writable by you: mount on a directory of yours.")


def is_alive(path: Path) -> bool:
    """Whether the mount at `path` has a process that answers.

    A mount that does not answer within a few seconds counts as alive: its process is busy.
    """
    try:
        within(_ANSWER_WITHIN_S, lambda: os.statvfs(path))  # a stat may come from a cache
    except TimeoutError:
        return True
    except OSError as error:
        return error.errno != errno.ENOTCONN
    return True


def unmount(path: Path, *, lazy: bool = False) -> None:
    """Unmount; `lazy` detaches at once even while in use. Raises MountError."""
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().removeprefix("fusermount3: ")
        hint = " Close what is open there, or leave the directory." if "busy" in reason else ""
        raise MountError(f"{path} could not be unmounted: {reason}.{hint}")


def _unescape(field: str) -> str:
    """Undo the octal escapes of mountinfo (space, tab, newline, backslash)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
