"""Indexers and thumbnailers: programs that read every file they see."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_COMM_BYTES = 15  # what the kernel keeps of a name (proc_pid_comm(5))


class Indexers:
    """Processes known by the name of their program."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._short = frozenset(name.encode()[:_COMM_BYTES] for name in self._names)

    def includes(self, pid: int) -> bool:
        """Whether the process with this id (0: unknown) is one of them."""
        if not pid or not self._names:
            return False
        with suppress(OSError):
            # Its threads have names of their own, the program they run is the same.
            if Path(f"/proc/{pid}/exe").readlink().name in self._names:
                return True
        with suppress(OSError):
            return _comm(pid) in self._short
        return False


def _comm(pid: int) -> bytes:
    descriptor = os.open(f"/proc/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _COMM_BYTES + 1).rstrip(b"\n")
    finally:
        os.close(descriptor)
