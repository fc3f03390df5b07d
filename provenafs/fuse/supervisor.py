"""Notifications to systemd (sd_notify(3)): ready, reloading, watchdog, stopping.

Where no service manager has asked, by NOTIFY_SOCKET, all of it does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import trio

log = logging.getLogger(__name__)

_SEND_WITHIN_S = 1.0


def notify(*assignments: str) -> None:
    """Send assignments such as `READY=1` in one message; a mount does without where that fails."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # unix(7), abstract
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.settimeout(_SEND_WITHIN_S)
        connection.sendto("\n".join(assignments).encode(errors="replace"), address)


def reloading() -> None:
    """Settings are read again; READY=1 ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


async def keep_alive(ask: Callable[[], object]) -> None:
    """Ping the watchdog, twice as often as it wants, as long as `ask` returns.

    `ask` runs in a thread of its own. While it hangs or raises OSError there is no ping, and the
    service manager restarts the mount.
    """
    interval = _watchdog_interval()
    if interval is None:
        return
    own_thread = trio.CapacityLimiter(1)
    while True:
        try:
            await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=own_thread)
        except OSError as error:
            log.warning("the mount does not answer its own process: %s", error.strerror)
        else:
            notify("WATCHDOG=1")
        await trio.sleep(interval / 2)


def _watchdog_interval() -> float | None:
    """Seconds within which this process has to ping; None if nobody waits for it."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    interval = os.environ.get("WATCHDOG_USEC", "")
    return int(interval) / 1e6 if interval.isdecimal() and int(interval) else None
