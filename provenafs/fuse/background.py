"""Detaching from the terminal: the command returns when the mount is ready, or fails with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

_READY = b"."


def detach() -> Callable[[], None]:
    """Fork. The child returns with a `ready` function; the parent ends with the child's outcome.

    Until `ready` is called the child keeps the terminal, so that it reports its own failure there;
    the parent exits 0 once it is called, else with the child's exit status. To be called before
    any thread or event loop is started.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        _exit_with_outcome(child, reading)
    os.close(reading)
    os.setsid()

    def ready() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.chdir("/")
        os.write(writing, _READY)
        os.close(writing)

    return ready


def _exit_with_outcome(child: int, reading: int) -> None:
    try:
        answer = os.read(reading, 1)
    except KeyboardInterrupt:
        os.kill(child, 15)
        answer = b""
    if answer == _READY:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) or 1)
