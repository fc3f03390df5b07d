"""Tasks in the background end neither each other nor their room."""

from __future__ import annotations

import errno
import logging

import pytest
import trio
import trio.testing

from provenafs.errors import FSError
from provenafs.guard import Background, Panic, as_failure, in_thread


class RustPanic(BaseException):
    """As pyo3 raises for a panic: no Exception."""


async def _fail(error: BaseException) -> None:
    raise error


@pytest.mark.expects_errors("in the background gave up")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        FSError(errno.EIO),
        RustPanic(),
        ExceptionGroup("", [KeyError("a"), ValueError("b")]),
        BaseExceptionGroup("", [RustPanic(), ValueError("b")]),
    ],
    ids=repr,
)
async def test_one_that_fails_gives_up_its_own_work_only(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    finished: list[str] = []

    async def sibling() -> None:
        await trio.testing.wait_all_tasks_blocked()
        finished.append("sibling")

    async with trio.open_nursery() as nursery:
        background = Background(nursery)
        background.start_soon(sibling)
        background.start_soon(_fail, error)
        background.start_soon(_fail, error)
    assert finished == ["sibling"]
    assert background.failures == {"_fail": 2}
    assert "_fail in the background gave up" in caplog.text


@pytest.mark.expects_errors("the disk is broken")
async def test_a_known_failure_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        async with trio.open_nursery() as nursery:
            Background(nursery).start_soon(_fail, FSError(errno.EIO, "the disk is broken"))
    assert "the disk is broken" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), BaseExceptionGroup("", [SystemExit(3)])], ids=repr
)
async def test_what_ends_the_process_is_no_failure(error: BaseException) -> None:
    with pytest.raises(type(error)):
        as_failure(error)


async def test_a_cancelled_task_has_not_failed() -> None:
    async with trio.open_nursery() as nursery:
        background = Background(nursery)
        background.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not background.failures


async def test_a_panic_in_a_thread_is_an_exception() -> None:
    def panic() -> None:
        raise RustPanic("with what no log may show")

    with pytest.raises(Panic) as caught:
        await in_thread(panic)
    assert "RustPanic" in str(caught.value)
    assert "no log" not in str(caught.value)


async def test_what_a_thread_raises_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda number: 1 // number, 0)
