"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.log_watch import no_unexpected_errors as no_unexpected_errors
from tests.support.mounting import Drive, MountAs, mounted
from tests.support.room_times import RoomTimes
from tests.support.running_sandbox import RunningSandbox, running_sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Say at the end how long the tests of each room took."""
    config.pluginmanager.register(RoomTimes())


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """One sandbox for the whole session, filled with the samples of `provenafs.sandbox.seeds`."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def mount_as(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[MountAs]:
    """Mounts of a test's own: `mount_as(user, *flags)`."""
    with ExitStack() as stack:
        number = 0

        def mount(user: str, *flags: str, services: tuple[str, str] = ("", "")) -> Drive:
            nonlocal number
            number += 1
            home = tmp_path / str(number)
            return stack.enter_context(mounted(sandbox, user, home, *flags, services=services))

        yield mount
