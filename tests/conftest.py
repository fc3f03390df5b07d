"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running_sandbox import RunningSandbox, running_sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """One sandbox for the whole session, filled with the samples of `provenafs.sandbox.seeds`."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running
