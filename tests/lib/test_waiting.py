"""Pauses between attempts, and events that happen again and again."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from provenafs.lib.backoff import Backoff
from provenafs.lib.signal import Signal


async def test_pauses_double_up_to_the_longest(autojump_clock: MockClock) -> None:
    backoff = Backoff(1.0, 4.0)
    for longest in (1.0, 2.0, 4.0, 4.0):
        began = trio.current_time()
        assert await backoff.pause()
        assert longest / 2 <= trio.current_time() - began <= longest


async def test_what_a_server_asks_for_is_waited_at_least(autojump_clock: MockClock) -> None:
    backoff = Backoff(1.0, 4.0)
    began = trio.current_time()
    assert await backoff.pause(at_least=30.0)
    assert trio.current_time() - began == 30.0


async def test_no_pause_outlasts_the_time_given(autojump_clock: MockClock) -> None:
    backoff = Backoff(1.0, 8.0, within=10.0)
    began = trio.current_time()
    while await backoff.pause():
        pass
    assert 2.0 <= trio.current_time() - began < 10.0
    assert not await backoff.pause(at_least=60.0)


async def test_a_signal_wakes_whoever_waits_and_nobody_later() -> None:
    signal, woken = Signal(), []

    async def wait(name: str) -> None:
        await signal.wait()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("first", "second"):
            nursery.start_soon(wait, name)
        await wait_all_tasks_blocked()
        signal.fire()
        nursery.start_soon(wait, "late")
        await wait_all_tasks_blocked()
        assert sorted(woken) == ["first", "second"]
        signal.fire()
    assert woken[-1] == "late"
