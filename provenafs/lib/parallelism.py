"""How many transfers at once a network rewards, found by trying. Pure: the caller tells the time.

A server gives each connection so much and a network all of them together so much; which of the two
is reached first is only seen from what a different number of connections brings. So the number
doubles for as long as that pays, and then the numbers next to it are tried now and then: a higher
one is kept for a clear gain, a lower one where nothing is lost.

Throughput is measured by Little's law: the bytes that a busy connection brings in a second, times
the number of busy connections. That needs one round of transfers, where to count bytes over time
needs several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

FIRST = 4  # transfers at once, before anything is known
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_FEWEST_SAMPLES = 4
_BUSY = 0.75  # of the limit
_DOUBLING_PAYS = 1.4
_STEP_PAYS = 1.1
_NOTHING_LOST = 0.95
# Of the most that was ever measured, so that many small losses do not add up to a large one.
_LITTLE_LOST = 0.9
_BEST_FADES = 0.99  # with each round: networks change
_SAME_SIZE = 1.2
_FIRST_PAUSE, _LONGEST_PAUSE = 2, 48  # rounds between trials
# A burst of refusals belongs to one overload: only one of them counts.
_ONE_OVERLOAD_S = 1.0


class _Trial(Enum):
    """What the present number of transfers is."""

    RAMP = auto()  # twice the one before, or the first of all
    KEPT = auto()  # what is held to
    HIGHER = auto()  # one step above it
    LOWER = auto()  # one step below it


@dataclass(slots=True, eq=False)
class Transfer:
    """One transfer under way: when it began, in which round, and how many there were with it."""

    begun: float
    round: int
    beside: int


class Parallelism:
    """Finds `limit`, the number of transfers at once, between 1 and `most`.

    No higher number is tried at a throughput of `enough`, in bytes a second.
    """

    def __init__(self, most: int, enough: float = math.inf) -> None:
        self._enough = enough
        self._steps = [step for step in _STEPS if step < most] + [most]
        self._step = self._step_at(FIRST)
        self.in_flight = 0
        self.throughput = 0.0  # bytes a second, as of the last round
        self._round = 0
        self._trial = _Trial.RAMP
        self._kept = self._step
        self._kept_throughput = 0.0
        self._kept_size = 1.0  # bytes of a transfer
        self._best = 0.0
        self._is_second_look = False
        self._pause = _FIRST_PAUSE
        self._rounds_kept = 0
        self._next_trial = _Trial.LOWER  # the ramp took large steps
        self._overload_at = -_ONE_OVERLOAD_S
        self._moment: float | None = None
        self._forget_samples()

    @property
    def limit(self) -> int:
        """How many transfers should be under way at once."""
        return self._steps[self._step]

    def begin(self, now: float) -> Transfer:
        """A transfer begins at `now`, in seconds."""
        self._note_busy(now)
        self.in_flight += 1
        self._is_busy |= self.in_flight >= _BUSY * self.limit
        return Transfer(now, self._round, self.in_flight)

    def end(self, transfer: Transfer, size: int, now: float) -> None:
        """It is over with `size` bytes, or has failed with 0."""
        self._note_busy(now)
        beside = max(transfer.beside, self.in_flight)
        self.in_flight -= 1
        # With fewer than there may be it is not the network that is waited for.
        if not size or transfer.round != self._round or beside < _BUSY * self.limit:
            return
        self._samples += 1
        self._bytes += size
        self._seconds += now - transfer.begun
        if self._samples >= max(_FEWEST_SAMPLES, self.limit) and self._lasted > 0:
            self.throughput = self._busy / self._lasted * self._bytes / self._seconds
            self._decide(self.throughput)

    def overloaded(self, now: float) -> None:
        """The server has asked for less."""
        if now - self._overload_at < _ONE_OVERLOAD_S:
            return
        self._overload_at = now
        self._keep(self._step_at(self.limit // 2), 0.0)
        self._best = 0.0
        self._pause = _LONGEST_PAUSE // 4

    def _note_busy(self, now: float) -> None:
        """Between the last call and this one nothing has begun or ended."""
        passed = 0.0 if self._moment is None else now - self._moment
        self._moment = now
        if self._is_busy:
            # More than the limit are left over from the round before.
            self._busy += passed * min(self.in_flight, self.limit)
            self._lasted += passed

    def _decide(self, throughput: float) -> None:
        """A round is over: what the next one is to try."""
        self._best = max(self._best * _BEST_FADES, throughput)
        match self._trial:
            case _Trial.RAMP:
                self._ramped(throughput)
            case _Trial.KEPT:
                self._kept_on(throughput)
            case _Trial.HIGHER | _Trial.LOWER:
                self._tried(throughput)

    def _ramped(self, throughput: float) -> None:
        if throughput >= self._enough:
            self._keep(self._step, throughput)
        elif throughput >= _DOUBLING_PAYS * self._kept_throughput:
            higher = self._step_at(2 * self.limit)
            self._kept, self._kept_throughput = self._step, throughput
            if higher == self._step:
                self._keep(self._step, throughput)
            else:
                self._go_to(higher, _Trial.RAMP)
        elif not self._looks_again(throughput):
            self._keep(self._kept, self._kept_throughput)

    def _kept_on(self, throughput: float) -> None:
        size, before = self._bytes / self._samples, self._kept_throughput
        if not before or not 1 / _SAME_SIZE < size / self._kept_size < _SAME_SIZE:
            # Transfers of another size: a window that grows, another reader.
            self._kept_throughput, self._rounds_kept = throughput, 0
        else:
            # The mean of the last rounds: one alone may be off.
            self._kept_throughput = (before + throughput) / 2
            self._rounds_kept += 1
        self._kept_size = size
        if self._rounds_kept < self._pause:
            self._forget_samples()
            return
        step = self._step + (1 if self._next_trial is _Trial.HIGHER else -1)
        is_enough = step > self._step and self._kept_throughput >= self._enough
        if 0 <= step < len(self._steps) and not is_enough:
            self._go_to(step, self._next_trial)
        else:
            self._turn()
            self._keep(self._step, self._kept_throughput)

    def _tried(self, throughput: float) -> None:
        if self._pays(throughput):
            self._pause = _FIRST_PAUSE
            self._keep(self._step, throughput)
        elif not self._looks_again(throughput):
            self._turn()
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._keep(self._kept, self._kept_throughput)

    def _pays(self, throughput: float) -> bool:
        if self._trial is _Trial.HIGHER:
            return throughput >= _STEP_PAYS * self._kept_throughput
        least = max(_NOTHING_LOST * self._kept_throughput, _LITTLE_LOST * self._best)
        return throughput >= least

    def _looks_again(self, throughput: float) -> bool:
        """More connections are new ones, slow to start with: their first round is no proof.

        But they cannot make the others slower.
        """
        is_worse = throughput < self._kept_throughput
        if is_worse or self._is_second_look or self._trial is _Trial.LOWER:
            return False
        self._forget_samples()
        self._is_second_look = True
        return True

    def _turn(self) -> None:
        is_higher = self._next_trial is _Trial.HIGHER
        self._next_trial = _Trial.LOWER if is_higher else _Trial.HIGHER

    def _keep(self, step: int, throughput: float) -> None:
        self._kept, self._kept_throughput = step, throughput
        self._rounds_kept = 0
        self._go_to(step, _Trial.KEPT)

    def _go_to(self, step: int, trial: _Trial) -> None:
        self._step, self._trial = step, trial
        self._is_second_look = False
        self._forget_samples()

    def _forget_samples(self) -> None:
        """What is under way belongs to the round before."""
        self._round += 1
        self._is_busy = False  # whether there were as many as may be, but for a few
        self._samples = 0
        self._bytes = 0
        self._seconds = 0.0  # of all transfers together
        self._busy = 0.0  # connections, times seconds
        self._lasted = 0.0  # seconds

    def _step_at(self, limit: int) -> int:
        """The highest step that is no more than `limit`, or the first."""
        return max((i for i, step in enumerate(self._steps) if step <= limit), default=0)
