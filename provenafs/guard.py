"""Contains failures: of background tasks, and of libraries that raise non-Exceptions.

Some libraries raise what is no Exception (a panic of Rust code is a BaseException): it passes every
`except Exception`, and would end the mount.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from provenafs.errors import FSError

log = logging.getLogger(__name__)

# Not failures: they end a task or the process.
_ENDING = (trio.Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Panic(Exception):
    """A library raised what is no Exception; its text is left out, which may hold anything."""


def as_failure(error: BaseException) -> Exception:
    """The caught error as an Exception; re-raises cancellation and exits."""
    if isinstance(error, Exception):
        return error
    if isinstance(error, _ENDING):
        raise error
    if isinstance(error, BaseExceptionGroup) and error.subgroup(_ENDING) is not None:
        raise error
    failure = Panic(f"a library failed with {type(error).__name__}")
    failure.__cause__ = error
    return failure


async def in_thread(
    work: Callable[[Unpack[_Ts]], _T],
    *arguments: *_Ts,
    limiter: trio.CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> _T:
    """As trio.to_thread.run_sync, but all that `work` fails with is an Exception."""
    try:
        return await trio.to_thread.run_sync(
            work, *arguments, limiter=limiter, abandon_on_cancel=abandon_on_cancel
        )
    except BaseException as error:
        raise as_failure(error) from error.__cause__


class Background:
    """Starts tasks in a nursery that cannot end each other: one that fails gives up its own work.

    A task that others wait for releases them in a `finally`. `failures` counts those that gave
    up, by name.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.failures: Counter[str] = Counter()
        self._nursery = nursery

    def start_soon(
        self, work: Callable[[Unpack[_Ts]], Awaitable[object]], *arguments: *_Ts
    ) -> None:
        """Run `work` in the background."""
        self._nursery.start_soon(self._run, work, arguments, name=work)

    async def _run(
        self, work: Callable[[Unpack[_Ts]], Awaitable[object]], arguments: tuple[*_Ts]
    ) -> None:
        try:
            await work(*arguments)
        except BaseException as error:
            self._note(getattr(work, "__qualname__", repr(work)), as_failure(error))

    def _note(self, task: str, failure: Exception) -> None:
        self.failures[task] += 1
        cause = None if isinstance(failure, FSError) else failure
        log.error("%s in the background gave up: %s", task, failure, exc_info=cause)
