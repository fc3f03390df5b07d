"""Servers shared by the tests of this room: most tests run on a bucket in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import virtual_time
from tests.support.faultproxy import FaultProxy, fault_proxy
from tests.support.memory_bucket import MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import client, make_bucket, moto

_ROOM = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the bucket in memory runs in virtual time."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()) and item.path.parent == _ROOM:
            item.add_marker(pytest.mark.trio(run=virtual_time.run), append=False)


@pytest.fixture
def server() -> MemoryServer:
    """A bucket in memory."""
    return MemoryServer()


@pytest.fixture
def faulty(server: MemoryServer) -> MemoryServer:
    """Another way to the same bucket, which the test can make stall, fail and cut."""
    return MemoryServer(server.client)


@pytest.fixture
def other_user(server: MemoryServer) -> MemoryClient:
    """Another client of the same bucket."""
    return server.client


@pytest.fixture
def prefix() -> str:
    """A folder of the bucket that no other test uses."""
    return f"datasets/{uuid.uuid4().hex}/"


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """A server of its own process, for what a bucket in memory cannot show."""
    with moto() as address:
        make_bucket(address)
        yield address


@pytest.fixture
def moto_user(moto_address: str) -> Any:
    """Another client of that server."""
    return client(moto_address)


@pytest.fixture
def proxy(moto_address: str) -> Iterator[FaultProxy]:
    """A proxy before that server, which the test can make stall, fail and cut."""
    with fault_proxy(moto_address) as proxy:
        yield proxy
