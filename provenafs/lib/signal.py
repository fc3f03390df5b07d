"""An event that can fire repeatedly."""

from __future__ import annotations

import trio


class Signal:
    """Wakes the tasks that wait for it; as trio.Event, of one event loop only."""

    def __init__(self) -> None:
        self._next = trio.Event()

    def fire(self) -> None:
        """Wake all tasks that wait now; later ones wait for the next time."""
        self._next.set()
        self._next = trio.Event()

    async def wait(self) -> None:
        """Wait until it is fired the next time."""
        await self._next.wait()
