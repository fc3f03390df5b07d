"""Time that does not pass while anything works: trio's mock clock, with threads and clocks to it.

Trio takes a task that waits for a thread for one that waits for time, and would jump over it. So
what is for a thread runs at once, in the task that asks: tests of what blocks, or of two threads
at once, need real time. The time of day goes with trio's clock.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, TypeVarTuple, Unpack
from unittest import mock

import trio
import trio.testing

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# Some tasks in the background wake up for ever: without an end, what is stuck would jump for ever.
_LONGEST_S = 86_400.0
_BETWEEN_LOOKS_S = 1e-6


@contextmanager
def _virtual_time() -> Iterator[None]:
    """Within it, a run of trio with a mock clock waits for nothing but that."""
    clock = _TimeOfDay()
    with (
        mock.patch("trio.to_thread.run_sync", _run_at_once),
        mock.patch("time.time", clock),
        mock.patch("time.time_ns", lambda: int(clock() * 1e9)),
    ):
        yield


def run(
    main: Callable[[Unpack[_Ts]], Awaitable[_T]],
    *arguments: *_Ts,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> _T:
    """As trio.run, in virtual time; trio.TooSlowError when a day of that has gone by."""
    clock = clock or trio.testing.MockClock(autojump_threshold=0)

    async def bounded() -> _T:
        with trio.fail_after(_LONGEST_S):
            return await main(*arguments)

    with _virtual_time():
        return trio.run(bounded, clock=clock, instruments=instruments)


class _TimeOfDay:
    """Goes with trio's mock clock, and on a little whenever somebody looks."""

    def __init__(self) -> None:
        self._began_at = self._last = time.time()

    def __call__(self) -> float:
        with suppress(RuntimeError):  # before or after the run
            self._last = max(self._last, self._began_at + trio.current_time())
        self._last += _BETWEEN_LOOKS_S
        return self._last


async def _run_at_once(
    work: Callable[[Unpack[_Ts]], _T],
    *arguments: *_Ts,
    limiter: trio.CapacityLimiter | None = None,
    **_: Any,
) -> _T:
    """As trio.to_thread.run_sync, without a thread."""
    await trio.lowlevel.checkpoint()
    if limiter is None:
        return work(*arguments)
    borrower = object()
    await limiter.acquire_on_behalf_of(borrower)
    try:
        return work(*arguments)
    finally:
        limiter.release_on_behalf_of(borrower)
