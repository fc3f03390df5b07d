"""One sandbox without sample datasets for every test of the services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.running_services import RunningServices, running_services


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServices]:
    with running_services(tmp_path_factory.mktemp("services")) as running:
        yield running
