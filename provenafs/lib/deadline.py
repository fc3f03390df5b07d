"""Blocking calls with a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Call(Generic[_T]):
    """A blocking call under way in a daemon thread, which does not keep the process alive."""

    def __init__(self, function: Callable[[], _T]) -> None:
        self._outcome: list[_T | BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], _T]) -> None:
        try:
            self._outcome.append(function())
        except BaseException as error:
            self._outcome.append(error)

    def ends(self, within: float) -> bool:
        """Whether the call returns or raises within so many seconds."""
        self._thread.join(within)
        return not self._thread.is_alive()

    def result(self) -> _T:
        """The result of the finished call; raises its error."""
        outcome = self._outcome[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def within(seconds: float, function: Callable[[], _T]) -> _T:
    """The result of a blocking call. Raises TimeoutError after `seconds`, else what it raises."""
    call = Call(function)
    if not call.ends(seconds):
        raise TimeoutError(f"no answer within {seconds} s")
    return call.result()
