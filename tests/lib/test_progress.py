"""Memory that transfers may take, their own and what others lend."""

from __future__ import annotations

import trio
import trio.testing

from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.lib.progress import ByteSemaphore


async def _hold(memory: ByteSemaphore, held: list[int], released: trio.Event) -> None:
    async with memory.hold(10):
        held.append(10)
        await released.wait()
    held.remove(10)


async def test_what_readers_do_not_need_is_lent_and_given_back() -> None:
    budget = ReadAheadBudget(100)
    memory, held, released = ByteSemaphore(20, budget), list[int](), trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(_hold, memory, held, released)
        await trio.testing.wait_all_tasks_blocked()
        assert sum(held) == 20 + 60
        assert budget.used == 60
        assert budget.try_take(40)
        budget.give_back(40)
        released.set()
    assert budget.used == 0


async def test_nothing_is_lent_while_readers_need_it() -> None:
    budget = ReadAheadBudget(100)
    budget.take(95)
    memory, held, released = ByteSemaphore(20, budget), list[int](), trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(_hold, memory, held, released)
        await trio.testing.wait_all_tasks_blocked()
        assert (sum(held), budget.used) == (20, 95)
        released.set()
    assert budget.used == 95
