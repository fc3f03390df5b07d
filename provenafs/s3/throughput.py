"""Estimates the recent throughput of ranged GETs from their durations. Pure: no I/O."""

from __future__ import annotations

_ROUND_TRIP_S = 0.05  # until one is seen
_ASSUMED = 100e6  # bytes a second, until large ranges are seen
_LARGE = 1024 * 1024  # bytes; what a smaller range took is mostly its round trip
_WEIGHT = 0.2  # of the newest
_LEAST_S = 0.001


class Throughput:
    """The round trip and the bytes a second of all requests together, as seen lately."""

    def __init__(self) -> None:
        self.round_trip = _ROUND_TRIP_S
        self.rate = _ASSUMED
        self._under_way = 0
        self._has_round_trip = False
        self._has_rate = False

    def begin(self) -> None:
        """A request is sent."""
        self._under_way += 1

    def end(self, size: int, seconds: float) -> None:
        """A request is over; `size` bytes came in so many seconds, 0 if it failed."""
        beside, self._under_way = self._under_way, self._under_way - 1
        if not size:
            return
        if size < _LARGE:
            self._note_round_trip(seconds)
            return
        # Those beside it are as fast, and what it waited for at first is no transfer.
        rate = size / max(seconds - self._known_round_trip, seconds / 2, _LEAST_S) * beside
        self.rate = rate if not self._has_rate else self.rate + _WEIGHT * (rate - self.rate)
        self._has_rate = True

    @property
    def _known_round_trip(self) -> float:
        return self.round_trip if self._has_round_trip else 0.0

    def _note_round_trip(self, seconds: float) -> None:
        """Slow ones waited for others, so that the quick ones count for more."""
        if not self._has_round_trip or seconds < self.round_trip:
            self.round_trip, self._has_round_trip = seconds, True
        else:
            self.round_trip += _WEIGHT / 4 * (seconds - self.round_trip)

    def seconds_for(self, size: int) -> float:
        """How long it takes to fetch `size` bytes in parallel ranges."""
        return size / self.rate + self.round_trip
