"""Fixtures of the tests against a server that has bad days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from provenafs.provena import realm, transport
from provenafs.provena.client import Provena
from tests.support.loopback import Answer, Loopback, loopback_server
from tests.support.provena_answers import settings_for


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback_server() as loopback:
        loopback.on("/realm", Answer(body={"public_key": "AAAA"}))
        yield loopback


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(realm, "_SLOW_DOWN_S", 0.01)
    monkeypatch.setattr(realm, "_SHORTEST_INTERVAL_S", 0.001)


@pytest.fixture
async def provena(server: Loopback, tmp_path: Path) -> AsyncIterator[Provena]:
    """A client whose token is given and cannot be renewed."""
    async with Provena.connect(settings_for(server, tmp_path, token="given")) as connected:
        yield connected
