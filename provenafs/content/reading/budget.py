"""The memory budget shared by all read-ahead."""

from __future__ import annotations

from typing import Protocol

import trio

# A holder that has not read for so long gives its memory to others.
_IDLE_S = 2.0
_LEAST_SHARE = 1024 * 1024


class Holder(Protocol):
    """Somebody who keeps bytes read ahead."""

    def shed(self) -> None:
        """Drop what is held but was not asked for; it can be fetched again."""


class ReadAheadBudget:
    """Counts bytes held or under way.

    Demand reads are always granted: it is bounded by the requests under way. Reading ahead
    has to fit below the limit, if need be at the cost of those who stopped reading.
    """

    def __init__(self, limit: int) -> None:
        """`limit` in bytes."""
        self.limit = limit
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

    def share(self) -> int:
        """How many bytes one of those who read now may hold."""
        since = trio.current_time() - _IDLE_S
        active = 0
        for touched in reversed(self._holders.values()):
            if touched < since:
                break
            active += 1
        return max(_LEAST_SHARE, self.limit // max(1, active))

    def _shed_idle(self, but: Holder | None) -> None:
        until = trio.current_time() - _IDLE_S
        for holder, touched in list(self._holders.items()):
            if touched > until:
                return
            if holder is not but:
                holder.shed()
                self.forget(holder)
