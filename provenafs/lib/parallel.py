"""Runs tasks in parallel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

Job = Callable[[], Awaitable[None]]


async def run_all(jobs: Iterable[Job]) -> None:
    """Run all jobs at once; the first failure cancels the others and is raised as it is."""
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def run(job: Job) -> None:
            try:
                await job()
            except Exception as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        for job in jobs:
            nursery.start_soon(run, job)
    if failures:
        raise failures[0]
