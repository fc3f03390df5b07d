"""A network that gives each connection so much, and all of them so much; nothing is sent.

A download is one of a stream that is read in order: `window` bytes may be ahead of the reader.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from provenafs.lib.parallelism import Parallelism, Transfer

MB = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True)
class Network:
    """Round trip in seconds, bytes a second of one connection and of all."""

    round_trip_s: float
    each: float
    total: float
    jitter: float = 0.1
    """By how much the latency and the size of transfers vary, as a part of them."""
    refuses_above: int = 10_000
    """Transfers at once above which the server says SlowDown."""


@dataclass
class _Moving:
    transfer: Transfer
    start: int
    size: int
    latency: float
    left: float


@dataclass
class Download:
    """A stream that is downloaded at the pace of a controller, or with a `fixed` number at once."""

    network: Network
    parallelism: Parallelism
    window: Callable[[int, int], tuple[int, int]]
    """For bytes read and a number of transfers at once: bytes ahead, bytes of one transfer."""
    fixed: int | None = None
    seed: int = 1
    now: float = 0.0
    delivered: int = 0
    refused: int = 0
    limits: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._moving: list[_Moving] = []
        self._asked = 0
        self._arrived: dict[int, int] = {}
        self._connections = 0
        self._again: deque[tuple[int, int]] = deque()

    @property
    def limit(self) -> int:
        return self.fixed or self.parallelism.limit

    def run(self, seconds: float) -> float:
        """Download for so long; the bytes a second that the reader got."""
        until, before = self.now + seconds, self.delivered
        while self.now < until:
            self._start()
            self._step()
            self.limits.append((self.now, self.limit))
        return (self.delivered - before) / seconds

    def _start(self) -> None:
        window, size = self.window(self.delivered, self.limit)
        while len(self._moving) < self.limit:
            if self._again:
                start, length = self._again.popleft()
            elif self._asked + size <= self.delivered + window:
                start, length = self._asked, size
                self._asked += size
            else:
                return
            transfer = self.parallelism.begin(self.now)
            latency = self.network.round_trip_s * self._about_one()
            if len(self._moving) >= self._connections:
                self._connections += 1
                latency += self.network.round_trip_s  # to connect
            if len(self._moving) >= self.network.refuses_above:
                self._refuse(transfer, start, length)
                return
            left = length * self._about_one()
            self._moving.append(_Moving(transfer, start, length, latency, left))

    def _refuse(self, transfer: Transfer, start: int, length: int) -> None:
        self.refused += 1
        self.parallelism.end(transfer, 0, self.now)
        self.parallelism.overloaded(self.now)
        self._again.append((start, length))

    def _step(self) -> None:
        """Go on to the next event."""
        active = [each for each in self._moving if each.latency <= 0]
        rate = min(self.network.each, self.network.total / max(1, len(active)))
        waits = [each.latency for each in self._moving if each.latency > 0]
        step = min([each.left / rate for each in active] + waits) + 1e-9
        self.now += step
        for each in self._moving:
            if each.latency > 0:
                each.latency -= step
            else:
                each.left -= rate * step
        for each in [each for each in self._moving if each.latency <= 0 and each.left <= 0]:
            self._moving.remove(each)
            self.parallelism.end(each.transfer, each.size, self.now)
            self._arrived[each.start] = each.size
        while self.delivered in self._arrived:
            self.delivered += self._arrived.pop(self.delivered)

    def _about_one(self) -> float:
        return self._random.uniform(1 - self.network.jitter, 1 + self.network.jitter)
