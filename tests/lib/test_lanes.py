"""How many transfers are let through at once."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from provenafs.lib.lanes import Lanes
from provenafs.lib.parallelism import FIRST

_MIB = 1024 * 1024


class _Load:
    """Transfers of 1 MiB, a second long each, and the most of them that were under way."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.under_way = self.most = self.ended = 0

    async def transfer(self, **options: Any) -> None:
        async with self.lanes.transfer(_MIB, **options):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                await trio.sleep(1)
            finally:
                self.under_way -= 1
        self.ended += 1


async def test_others_wait_until_there_is_room(autojump_clock: trio.testing.MockClock) -> None:
    load = _Load(Lanes(2))
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(load.transfer)
    assert (load.most, load.ended, trio.current_time()) == (2, 6, 3)


async def test_more_are_let_through_while_that_pays(autojump_clock: trio.testing.MockClock) -> None:
    load = _Load(Lanes(16))
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(load.transfer)
    assert load.most == 16
    assert load.lanes.throughput == pytest.approx(16 * _MIB, rel=0.3)


async def test_what_is_urgent_waits_for_nobody(autojump_clock: trio.testing.MockClock) -> None:
    load = _Load(Lanes(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.transfer)
        await trio.testing.wait_all_tasks_blocked()
        async with load.lanes.transfer(_MIB, is_urgent=True):
            assert load.under_way == 1
        nursery.cancel_scope.cancel()


async def test_refusals_leave_fewer_lanes(autojump_clock: trio.testing.MockClock) -> None:
    load = _Load(Lanes(16))
    load.lanes.slow_down()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(load.transfer)
    assert load.most == FIRST // 2


async def test_a_lane_is_free_again_whatever_became_of_its_transfer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lanes = Lanes(1)
    with trio.move_on_after(1):
        async with lanes.transfer(_MIB):
            await trio.sleep_forever()
    with pytest.raises(OSError, match="lost"):
        async with lanes.transfer(_MIB):
            raise OSError("lost")
    with trio.fail_after(1):
        async with lanes.transfer(_MIB):
            pass
