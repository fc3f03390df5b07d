"""The life of temporary keys, on a clock that moves only when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from provenafs.provena.broker import CredentialBroker
from provenafs.provena.client import Provena
from provenafs.provena.errors import Unauthorised
from tests.support.loopback import Answer, Loopback, Seen
from tests.support.provena_answers import HANDLE, READ, WRITE, keys, settings_for

EIGHT_HOURS = 8 * 3600


@pytest.fixture
def clock() -> MockClock:
    return MockClock()


@pytest.fixture
async def broker(provena: Provena, server: Loopback) -> CredentialBroker:
    numbers = count(1)

    def issue(_: Seen) -> Answer:
        return keys(next(numbers), _in(EIGHT_HOURS))

    server.on(READ, issue)
    server.on(WRITE, issue)
    return provena.broker


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_many_tasks_share_one_request(broker: CredentialBroker, server: Loopback) -> None:
    got = []

    async def get() -> None:
        got.append((await broker.get(HANDLE, "read")).access_key_id)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(get)
    assert got == ["ASIA1"] * 10
    assert server.count(READ) == 1


async def test_read_and_write_keys_are_apart(broker: CredentialBroker) -> None:
    read = await broker.get(HANDLE, "read")
    write = await broker.get(HANDLE, "write")
    other = await broker.get("10378.1/2", "read")
    assert len({read.access_key_id, write.access_key_id, other.access_key_id}) == 3


async def test_renewal_ten_minutes_before_expiry(
    broker: CredentialBroker, clock: MockClock
) -> None:
    assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA1"
    clock.jump(EIGHT_HOURS - 660)
    assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA1"
    clock.jump(70)
    assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA2"


async def test_short_lived_keys_are_used_for_nine_tenths_of_their_life(
    broker: CredentialBroker, server: Loopback, clock: MockClock
) -> None:
    server.on(READ, keys(1, _in(100)), keys(2, _in(100)))
    await broker.get(HANDLE, "read")
    clock.jump(85)
    assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA1"
    clock.jump(10)
    assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA2"


async def test_refused_keys_are_replaced_once(broker: CredentialBroker, clock: MockClock) -> None:
    first = await broker.get(HANDLE, "read")
    second = await broker.get(HANDLE, "read", first.access_key_id)
    assert second.access_key_id == "ASIA2"
    # Another task's refusal of the old ones comes late.
    assert await broker.get(HANDLE, "read", first.access_key_id) == second
    # Refused at once as well: asking again and again would not help.
    assert await broker.get(HANDLE, "read", second.access_key_id) == second
    clock.jump(61)
    third = await broker.get(HANDLE, "read", second.access_key_id)
    assert third.access_key_id == "ASIA3"


async def test_a_refusal_is_shared_and_soon_forgotten(
    broker: CredentialBroker, server: Loopback, clock: MockClock
) -> None:
    server.on(WRITE, Answer(401, {"detail": "no role"}), keys(7, _in(100)))
    refused = 0

    async def get() -> None:
        nonlocal refused
        with pytest.raises(Unauthorised, match="no role"):
            await broker.get(HANDLE, "write")
        refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(get)
    assert (refused, server.count(WRITE)) == (5, 1)
    clock.jump(3)
    assert (await broker.get(HANDLE, "write")).access_key_id == "ASIA7"


async def test_a_cancelled_task_leaves_the_asking_to_the_next(
    server: Loopback, tmp_path: Path
) -> None:
    async with Provena.connect(settings_for(server, tmp_path, token="given")) as provena:
        server.on(READ, Answer(stall=True), keys(1, _in(100)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provena.broker.get, HANDLE, "read")
            while not server.count(READ):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert (await provena.broker.get(HANDLE, "read")).access_key_id == "ASIA1"


async def test_keys_do_not_show(broker: CredentialBroker) -> None:
    shown = repr(await broker.get(HANDLE, "read"))
    assert "secret" not in shown
    assert "session" not in shown
    assert "ASIA" not in shown


async def test_keys_that_are_over_when_they_come_are_asked_for_once_a_minute(
    broker: CredentialBroker,
    server: Loopback,
    clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.on(READ, *(keys(number, _in(-3600)) for number in range(1, 4)), keys(4, _in(100)))
    for _ in range(50):
        assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA1"
    clock.jump(61)
    for _ in range(50):
        assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA2"
    assert caplog.text.count("check this machine's clock") == 1
    # S3 has the last word: what it refuses is replaced, once.
    for rejected in ("ASIA2", "ASIA3", "ASIA3"):
        assert (await broker.get(HANDLE, "read", rejected)).access_key_id == "ASIA3"
    clock.jump(61)
    assert (await broker.get(HANDLE, "read")).access_key_id == "ASIA4"
    assert server.count(READ) == 4
