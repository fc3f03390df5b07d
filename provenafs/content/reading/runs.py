"""Reads of one handle that follow each other without a gap, as the kernel cuts one read of a
program into several requests. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[int, int]  # [start, end) in bytes

_KEPT = 8
_COMPARED = 3  # runs that predict the length of the next


@dataclass(slots=True, eq=False)
class Run:
    """[start, end) was read in one go; it may still grow at both ends.

    `is_resumed`: it was read on after other runs, so that it may be in use for long.
    """

    start: int
    end: int
    is_resumed: bool = False

    @property
    def length(self) -> int:
        """In bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Lengths:
    """What the last runs had in common: the shortest and the longest, in bytes."""

    least: int
    most: int


class Runs:
    """The last runs of one handle."""

    def __init__(self) -> None:
        self._runs: list[Run] = []  # the one used last at the end

    def read(self, start: int, end: int) -> tuple[Run, bool]:
        """The run that [start, end) belongs to, and whether it begins with it."""
        for run in reversed(self._runs):
            if run.start <= end and start <= run.end:
                run.start, run.end = min(run.start, start), max(run.end, end)
                if run is not self._runs[-1]:
                    run.is_resumed = True
                    self._runs.remove(run)
                    self._runs.append(run)
                return run, False
        run = Run(start, end)
        self._runs.append(run)
        del self._runs[:-_KEPT]
        return run, True

    def before(self, run: Run) -> Lengths | None:
        """How long the runs before `run`, the one used last, were; None if that is not known."""
        runs = [each for each in self._runs[-_COMPARED - 1 :] if each is not run]
        if len(runs) < _COMPARED or any(each.is_resumed for each in runs):
            return None
        lengths = [each.length for each in runs]
        return Lengths(min(lengths), max(lengths))
