"""Interrupts closes and fsyncs of processes that are being killed.

The kernel keeps a killed process waiting until its request is answered, and pyfuse3 does not pass
on that it was interrupted. /proc shows this (proc(5)): the signal is pending, or if it has ended
the process by itself SIGKILL is; one that closes its files as it dies has it in its exit code. The
bytes are stored all the same, once the handle is released.
"""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from provenafs.errors import FSError

_LOOK_S = 1.0
_ENDING = sum(
    1 << (number - 1)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM)
)
_SIGNAL_OF_EXIT = 0x7F
_WAITS_FOR_NOTHING = "ZX"  # dead: the waiting process has inherited the file
_EXIT_CODE = 49  # of the fields of `stat` after the name, which are numbered from 3


class Callers:
    """The processes that wait for bytes to be stored."""

    def __init__(self) -> None:
        self._waiting: dict[trio.CancelScope, int] = {}

    @contextmanager
    def waiting(self, pid: int) -> Iterator[None]:
        """While the process that has opened a file waits; FSError(EINTR) if it was killed."""
        scope = trio.CancelScope()
        self._waiting[scope] = pid
        try:
            with scope:
                yield
        finally:
            del self._waiting[scope]
        if scope.cancelled_caught:
            raise FSError(errno.EINTR, "the process was killed: its file is stored without it")

    async def watch(self) -> None:
        """Let those who were killed wait no longer; runs until it is cancelled."""
        while True:
            await trio.sleep(_LOOK_S)
            for scope, pid in list(self._waiting.items()):
                if was_killed(pid):
                    scope.cancel()


def was_killed(pid: int) -> bool:
    """Whether a signal is to end, or has ended, a process that waits for something."""
    with suppress(OSError):  # it is gone, or not ours to look at
        return any(_is_ending(thread) for thread in Path(f"/proc/{pid}/task").iterdir())
    return False


def _is_ending(thread: Path) -> bool:
    status = (thread / "status").read_text()
    fields = (thread / "stat").read_text().rpartition(") ")[2].split()
    if fields[0] in _WAITS_FOR_NOTHING:
        return False
    masks = dict(re.findall(r"^(SigPnd|ShdPnd|SigBlk):\s*([0-9a-f]+)$", status, re.MULTILINE))
    own, shared, blocked = (int(masks.get(n, "0"), 16) for n in ("SigPnd", "ShdPnd", "SigBlk"))
    has_ended = int(fields[_EXIT_CODE]) & _SIGNAL_OF_EXIT
    return bool((own | shared) & ~blocked & _ENDING or has_ended)
