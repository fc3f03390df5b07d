"""Signals of a mount: SIGINT and SIGTERM end it, SIGHUP reloads, SIGUSR1 debugs."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

import pyfuse3
import trio

from provenafs.fuse.supervisor import notify, reloading
from provenafs.guard import as_failure

log = logging.getLogger(__name__)

# How long requests under way may take to finish after SIGTERM.
_GRACE_S = 10.0


async def obey_signals(scope: trio.CancelScope, reload: Callable[[], None] | None) -> None:
    """On SIGINT or SIGTERM take no more requests, and cut off those that do not end in time.

    A second such signal cuts them off at once. SIGHUP calls `reload`; without it, the terminal is
    gone that the mount belongs to, which ends it too.
    """
    with trio.open_signal_receiver(
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1
    ) as signals:
        ending = False
        async for number in signals:
            if number == signal.SIGUSR1:
                _toggle_debug()
            elif number == signal.SIGHUP and reload is not None:
                reloading()
                await trio.to_thread.run_sync(_reload, reload)
                notify("READY=1")
            elif ending:
                scope.cancel()
            else:
                ending = True
                log.info("unmounting on %s", signal.Signals(number).name)
                pyfuse3.terminate()
                scope.deadline = trio.current_time() + _GRACE_S


def _toggle_debug() -> None:
    root = logging.getLogger()
    level = logging.INFO if root.level == logging.DEBUG else logging.DEBUG
    root.setLevel(level)
    log.info("the log level is %s", logging.getLevelName(level))


def _reload(reload: Callable[[], None]) -> None:
    try:
        reload()
    except BaseException as error:  # a profile that is broken now: what there is stays in use
        log.warning("the settings could not be read again: %s", as_failure(error))
