"""DELETE requests that got no answer, and may still be carried out."""

from __future__ import annotations

import math

import trio

# For as long as its signature holds.
_LATE_S = 15 * 60.0


class LateDeletes:
    """The keys of such requests.

    It would take an object of the same ETag. So what is stored under such a key gets another one
    than its bytes alone would have.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, key: str) -> None:
        """A DELETE of this key was not answered."""
        now = trio.current_time()
        self._until.pop(key, None)
        self._until[key] = now + _LATE_S
        while (oldest := next(iter(self._until))) and self._until[oldest] < now:
            del self._until[oldest]

    def may_come(self, key: str) -> bool:
        """Whether a DELETE of this key may still be under way."""
        return trio.current_time() < self._until.get(key, -math.inf)
