"""The memory budget shared by all read-ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from provenafs.lib.parallelism import FIRST

# A holder that has not read for so long gives its memory to others.
_IDLE_S = 2.0
_LEAST_SHARE = 1024 * 1024
_LENT = 0.6  # of the limit; the rest stays free for whoever begins to read


class Holder(Protocol):
    """Somebody who keeps bytes read ahead."""

    def shed(self) -> None:
        """Drop what is held but was not asked for; it can be fetched again."""


class Share(NamedTuple):
    """What one of those who read now may have: bytes in memory, and ranges under way."""

    size: int
    at_once: int


class ReadAheadBudget:
    """Counts bytes held or under way.

    Demand reads are always granted: it is bounded by the requests under way. Reading ahead
    has to fit below the limit, if need be at the cost of those who stopped reading.
    """

    def __init__(self, limit: int, at_once: Callable[[], int] = lambda: FIRST) -> None:
        """`limit` in bytes; `at_once` tells how many ranges may be under way now."""
        self.limit = limit
        self._at_once = at_once
        self.used = 0
        self.ahead_used = self.ahead_dropped = 0  # bytes, of all that was read ahead so far
        self._holders: dict[Holder, float] = {}  # by time of last use, oldest first

    def take(self, size: int) -> None:
        """Count `size` bytes of a demand read."""
        self.used += size

    def try_take(self, size: int, holder: Holder | None = None) -> bool:
        """Count `size` bytes to be read ahead for `holder`, unless that is too much."""
        if self.used + size > self.limit:
            self._shed_idle(holder)
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def lend(self, size: int) -> bool:
        """Count `size` bytes for who does not read, unless readers could need them."""
        if self.used + size > self.limit * _LENT:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        """`size` bytes are no longer held."""
        self.used -= size

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more are below the limit, without anything being dropped."""
        return self.used + size <= self.limit

    def note_outcome(self, size: int, unread: int) -> None:
        """Of `size` bytes read ahead `unread` were in vain."""
        self.ahead_used += size - unread
        self.ahead_dropped += unread

    def touch(self, holder: Holder) -> None:
        """`holder` reads on."""
        self._holders.pop(holder, None)
        self._holders[holder] = trio.current_time()

    def forget(self, holder: Holder) -> None:
        """`holder` is closed."""
        self._holders.pop(holder, None)

    def share(self) -> Share:
        """What one of those who read now may have."""
        since = trio.current_time() - _IDLE_S
        active = 0
        for touched in reversed(self._holders.values()):
            if touched < since:
                break
            active += 1
        active = max(1, active)
        return Share(max(_LEAST_SHARE, self.limit // active), -(-self._at_once() // active))

    def _shed_idle(self, but: Holder | None) -> None:
        until = trio.current_time() - _IDLE_S
        for holder, touched in list(self._holders.items()):
            if touched > until:
                return
            if holder is not but:
                holder.shed()
                self.forget(holder)
