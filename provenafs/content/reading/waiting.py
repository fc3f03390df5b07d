"""How long readers of an object have waited for the network. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class WaitingTime:
    """Seconds in which at least one reader waited: those who wait side by side count once."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting = 0
        self._since = 0.0
        self._seconds = 0.0
        self.times = 0  # that a reader waited, since the last reset

    @property
    def seconds(self) -> float:
        """Since the last reset."""
        return self._seconds + (self._now() - self._since if self._waiting else 0.0)

    def reset(self) -> None:
        """Count from zero again."""
        self._seconds = 0.0
        self.times = 0
        self._since = self._now()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """While a reader waits."""
        if not self._waiting:
            self._since = self._now()
        self._waiting += 1
        self.times += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._seconds += self._now() - self._since
