"""Looks regularly after what was fetched ahead, for as long as there is any."""

from __future__ import annotations

from collections.abc import Callable

import trio

from provenafs.guard import Background

_EVERY_S = 1.0


class Sweeper:
    """Runs `sweep` in the background until it returns False: nothing is held any more."""

    def __init__(self, sweep: Callable[[], bool], nursery: Background) -> None:
        self._sweep = sweep
        self._nursery = nursery
        self._is_running = False

    def wake(self) -> None:
        """Something is held now."""
        if not self._is_running:
            self._is_running = True
            self._nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            while True:
                await trio.sleep(_EVERY_S)
                if not self._sweep():
                    return
        finally:
            self._is_running = False
