"""Adaptive limit of concurrent requests (AIMD) for servers that answer SlowDown."""

from __future__ import annotations

import trio

_FEWEST = 2
# A burst of refusals belongs to one overload: only one of them counts.
_ONE_OVERLOAD_S = 1.0


class Pace:
    """Halves the limiter's tokens at each overload and gives them back, one by one.

    One token comes back after as many answers as there are tokens, so that recovery from an
    overload takes the longer the closer it comes to what was too much.
    """

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._most = int(limiter.total_tokens)
        self._answers = 0
        self._overload_at = -_ONE_OVERLOAD_S

    def slow_down(self) -> None:
        """The server has answered SlowDown."""
        now = trio.current_time()
        self._answers = 0
        if now - self._overload_at < _ONE_OVERLOAD_S:
            return
        self._overload_at = now
        self._limiter.total_tokens = max(_FEWEST, int(self._limiter.total_tokens) // 2)

    def answered(self) -> None:
        """A request was answered."""
        tokens = int(self._limiter.total_tokens)
        if tokens >= self._most:
            return
        self._answers += 1
        if self._answers >= tokens:
            self._answers = 0
            self._limiter.total_tokens = tokens + 1
