"""How long the tests of each room took, said at the end of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import itemgetter
from pathlib import PurePosixPath

import pytest


class RoomTimes:
    """A plugin of pytest; with several workers it is the one of whoever starts them that counts."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add what a test took to make ready, to run, or to clean up."""
        room = str(PurePosixPath(report.nodeid.partition("::")[0]).parent)
        self._seconds[room] += report.duration
        self._tests[room] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it, the longest first."""
        terminalreporter.section("seconds of each room, all workers together")
        for room, seconds in sorted(self._seconds.items(), key=itemgetter(1), reverse=True):
            terminalreporter.write_line(f"{seconds:8.1f}  {room} ({self._tests[room]} tests)")
