"""Pauses between retries."""

from __future__ import annotations

import math
import random

import trio


class Backoff:
    """Pauses that double, with jitter, so that clients which failed together do not return so."""

    def __init__(self, first: float, longest: float, *, within: float = math.inf) -> None:
        """All in seconds; no pause ends later than `within` from now."""
        self._next = first
        self._longest = longest
        self._deadline = trio.current_time() + within

    async def pause(self, at_least: float = 0.0) -> bool:
        """Wait before the next attempt; False, at once, when there is no time left for one."""
        pause = max(at_least, self._next * random.uniform(0.5, 1.0))
        if trio.current_time() + pause >= self._deadline:
            return False
        self._next = min(2 * self._next, self._longest)
        await trio.sleep(pause)
        return True
