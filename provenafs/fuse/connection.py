"""The FUSE connection of a mount: the process that serves it, and aborting it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from provenafs.fuse.mountpoint import Mounted

_CONTROL = "/sys/fs/fuse/connections"
# System calls, of the same numbers on all machines, and their constants (fsopen(2) …).
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_CREATE = 6


class Connection:
    """The FUSE connection of a mount: its number is the minor of the mount's device.

    Create it while the mount exists: later the number may belong to another mount.
    """

    def __init__(self, mounted: Mounted) -> None:
        self._file = _abort_file(mounted.number)

    def abort(self) -> bool:
        """End the connection: all that waits for it fails. False where that is not allowed."""
        if self._file is None:
            return False
        with suppress(OSError):  # it has ended
            os.write(self._file, b"1")
        return True

    def close(self) -> None:
        """Forget it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _abort_file(number: int) -> int | None:
    """The file through which its owner, and root, may abort a connection; None if it is not had."""
    with suppress(OSError):
        return os.open(f"{_CONTROL}/{number}/abort", os.O_WRONLY | os.O_CLOEXEC)
    with suppress(OSError):
        control = _unseen_control()
        try:
            return os.open(f"{number}/abort", os.O_WRONLY | os.O_CLOEXEC, dir_fd=control)
        finally:
            os.close(control)
    return None


def _unseen_control() -> int:
    """The control filesystem where nobody has mounted it, as in containers; for root only."""
    context = _system_call(_FSOPEN, b"fusectl", _CLOEXEC)
    try:
        _system_call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _system_call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _system_call(number: int, *arguments: object) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Server:
    """A process that serves a mount, held so that its id cannot become another's."""

    def __init__(self, pid: int) -> None:
        """OSError if there is no such process."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def tell_to_end(self) -> None:
        """Send SIGTERM; nothing if it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; nothing if it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it (proc(5), state T)."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][:1] in "Tt"
        return False

    def has_ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def server_of(mounted: Mounted, hint: int | None = None) -> Server | None:
    """The process that holds the mount's connection, as the kernel shows it; None if unknown.

    Kernels before 6.18 do not say of which mount a /dev/fuse descriptor is. There it is `hint`,
    reported by the mount itself, if that is a provenafs of the user who mounted it.
    """
    for pid in _processes():
        if _connections(pid) and (server := _checked(pid, mounted, exactly=True)):
            return server
    return _checked(hint, mounted, exactly=False) if hint is not None else None


def users_of(mounted: Mounted) -> list[tuple[str, int]]:
    """The processes, by name and id, that have a file or directory of a mount open or are there.

    Only those that this user may look at.
    """
    found = []
    for pid in _processes():
        with suppress(OSError):
            if any(mounted.contains(path) for path in _paths_in_use(pid)):
                found.append((Path(f"/proc/{pid}/comm").read_text().strip(), pid))
    return found


def _paths_in_use(pid: int) -> Iterator[Path]:
    process = Path(f"/proc/{pid}")
    for link in (process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()):
        with suppress(OSError):
            yield link.readlink()


def _checked(pid: int, mounted: Mounted, *, exactly: bool) -> Server | None:
    """Held first and looked at then, so that what was looked at is what is held."""
    with suppress(OSError):
        server = Server(pid)
        if _serves(pid, mounted, exactly=exactly):
            return server
        server.close()
    return None


def _serves(pid: int, mounted: Mounted, *, exactly: bool) -> bool:
    connections = _connections(pid)
    if Path(f"/proc/{pid}").stat().st_uid != mounted.user:
        return False
    if exactly:
        return mounted.number in connections
    return None in connections and b"provenafs" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _connections(pid: int) -> set[int | None]:
    """The connections whose /dev/fuse a process has open; None for one without a number."""
    found: set[int | None] = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == "/dev/fuse":
                    found.add(_number(Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text()))
    return found


def _number(information: str) -> int | None:
    for line in information.splitlines():
        name, _, value = line.partition(":")
        if name == "fuse_connection":
            return int(value)
    return None


def _processes() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield int(entry.name)
