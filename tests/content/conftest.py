"""Servers shared by the tests of this room."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.faultproxy import FaultProxy, fault_proxy
from tests.support.moto_bucket import client, make_bucket, moto


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """A moto server with the bucket in it."""
    with moto() as address:
        make_bucket(address)
        yield address


@pytest.fixture
def other_user(moto_address: str) -> Any:
    """Another client of the same bucket."""
    return client(moto_address)


@pytest.fixture
def prefix() -> str:
    """A folder of the bucket that no other test uses."""
    return f"datasets/{uuid.uuid4().hex}/"


@pytest.fixture
def proxy(moto_address: str) -> Iterator[FaultProxy]:
    """A proxy before the server, which the test can make stall, fail and cut."""
    with fault_proxy(moto_address) as proxy:
        yield proxy
