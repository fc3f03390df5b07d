"""Fetching an object whole once its ranges have cost as much; and when that is given up."""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from provenafs.content.cache.block_cache import BlockCache
from provenafs.content.object_version import ObjectVersion
from provenafs.content.reading import whole_fetch
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.object_reads import ReadObjects
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.reader import Reader
from provenafs.content.reading.waiting import WaitingTime
from provenafs.content.reading.whole_fetch import WholeFetches, is_due
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.errors import Unavailable
from provenafs.s3.throughput import Throughput
from tests.support.moto_bucket import BUCKET, credentials

KIB, MIB = 1024, 1024**2
_SIZE = 24 * MIB + 1234


def test_waits_side_by_side_count_once() -> None:
    now = 0.0
    waiting = WaitingTime(lambda: now)
    with waiting.one_more():
        now = 1.0
        with waiting.one_more():
            now = 2.0
        now = 3.0
    now = 9.0
    assert waiting.seconds == 3.0
    waiting.reset()
    assert waiting.seconds == 0.0


def test_throughput_is_what_all_requests_bring_together() -> None:
    throughput = Throughput()
    for _ in range(20):
        throughput.begin()
        throughput.end(64 * KIB, 0.03)
    for _ in range(10):
        for _ in range(4):
            throughput.begin()
        for _ in range(4):
            throughput.end(4 * MIB, 0.03 + 4 * MIB / 25e6)
    assert throughput.round_trip == pytest.approx(0.03, rel=0.1)
    assert 25e6 < throughput.rate <= 110e6


def test_it_is_due_when_waits_have_cost_a_good_part_of_it() -> None:
    now = 0.0
    throughput = Throughput()
    waiting = WaitingTime(lambda: now)
    for _ in range(3):
        with waiting.one_more():
            now += 0.4 * throughput.seconds_for(MIB)
    assert not is_due(waiting, MIB, throughput)  # of many files a little is read of each
    assert not is_due(waiting, 100 * MIB, throughput)
    with waiting.one_more():
        now += throughput.seconds_for(100 * MIB)
    assert is_due(waiting, 100 * MIB, throughput)


class _Slow(ObjectSource):
    """A source whose requests take 20 ms longer, and are counted."""

    moved = 0

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        await trio.sleep(0.02)
        data = await super().fetch(start, end, retry=retry)
        self.moved += end - start if start in self._fetched else 0
        return data


class _Mount:
    """The parts of a mount that read objects."""

    def __init__(self, address: str, nursery: trio.Nursery, folder: Path, cache_size: int) -> None:
        self.s3 = S3Context(address, 5.0)
        self.bucket = Bucket(BUCKET, credentials, self.s3)
        self.blocks = BlockCache(folder, self.s3.buffers, cache_size, min_free=0)
        self.budget = ReadAheadBudget(64 * MIB)
        self.background = Background(nursery)
        self.whole = WholeFetches(self.blocks, self.s3, self.budget, self.background)
        self.objects = ReadObjects(self.whole.waited_for)
        self.stale = 0

    def source(self, key: str, etag: str) -> _Slow:
        version = ObjectVersion(key, etag, _SIZE)
        return _Slow(self.bucket, version, self._found_stale, self.blocks)

    def open(self, source: ObjectSource) -> Reader:
        return Reader(source, self.budget, self.background, reads=self.objects.of(source))

    def _found_stale(self) -> None:
        self.stale += 1

    async def settled(self) -> None:
        """Wait until nothing is fetched whole any more."""
        while any(reads.is_fetched_whole for reads in self.objects._objects.values()):
            await trio.sleep(0.01)


@asynccontextmanager
async def mount(address: str, folder: Path, cache_size: int = 2048 * MIB) -> AsyncIterator[_Mount]:
    """Ends with nothing under way, and the budget back at zero."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            made = _Mount(address, nursery, folder, cache_size)
            yield made
            await made.settled()
            while made.budget.used:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        made.blocks.close()


def put(client: Any, key: str, seed: int) -> tuple[str, bytes]:
    body = random.Random(seed).randbytes(_SIZE)
    return str(client.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"]), body


async def scattered(reader: Reader, body: bytes, count: int, seed: int = 1) -> None:
    draw = random.Random(seed)
    for _ in range(count):
        place = draw.randrange(_SIZE - 4096)
        assert bytes(await reader.read(place, 4096)) == body[place : place + 4096]


async def test_scattered_reads_bring_the_whole_object_and_no_byte_twice(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    etag, body = put(moto_user, prefix + "whole", 1)
    async with mount(moto_address, tmp_path) as made:
        source = made.source(prefix + "whole", etag)
        reader = made.open(source)
        await scattered(reader, body, 60)
        with trio.move_on_after(10):
            while source.absent(0, _SIZE):
                await scattered(reader, body, 5)
                await trio.sleep(0.02)
        assert source.absent(0, _SIZE) == []
        await reader.close()
        assert made.whole.fetched > _SIZE / 2
        assert source.moved <= 1.02 * _SIZE


async def test_two_handles_share_what_is_fetched(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    etag, body = put(moto_user, prefix + "shared", 2)
    async with mount(moto_address, tmp_path) as made:
        sources = [made.source(prefix + "shared", etag) for _ in range(3)]
        readers = [made.open(source) for source in sources]
        async with trio.open_nursery() as nursery:
            for number, reader in enumerate(readers):
                nursery.start_soon(scattered, reader, body, 60, number)
        for reader in readers:
            await reader.close()
        assert made.whole.fetched
        assert sum(source.moved for source in sources) <= 1.3 * _SIZE


async def test_few_reads_fetch_their_ranges_only(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    etag, body = put(moto_user, prefix + "few", 3)
    async with mount(moto_address, tmp_path) as made:
        source = made.source(prefix + "few", etag)
        reader = made.open(source)
        await scattered(reader, body, 2)
        await reader.close()
        assert made.whole.fetched == 0
        assert source.moved <= 4 * 128 * KIB


async def test_an_object_too_large_for_the_cache_is_left_alone(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    etag, body = put(moto_user, prefix + "large", 4)
    async with mount(moto_address, tmp_path, cache_size=4 * _SIZE) as made:
        reader = made.open(made.source(prefix + "large", etag))
        await scattered(reader, body, 60)
        await reader.close()
        assert made.whole.fetched == 0


async def test_a_replaced_object_is_given_up_and_never_mixed(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    key = prefix + "replaced"
    etag, body = put(moto_user, key, 5)
    async with mount(moto_address, tmp_path) as made:
        source = made.source(key, etag)
        reader = made.open(source)
        replaced = False
        draw = random.Random(9)
        with pytest.raises(FSError) as caught:
            for _ in range(500):
                place = draw.randrange(_SIZE - 4096)
                assert bytes(await reader.read(place, 4096)) == body[place : place + 4096]
                if made.objects.of(source).is_fetched_whole and not replaced:
                    put(moto_user, key, 6)
                    replaced = True
                await trio.lowlevel.checkpoint()
        assert caught.value.errno == errno.ESTALE
        assert made.stale
        await made.settled()
        data = await made.blocks.read(source.name, 0, 64 * KIB)
        assert data is None or bytes(data) == body[: 64 * KIB]
        await reader.close()


async def test_a_disk_that_fills_up_ends_it(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    etag, body = put(moto_user, prefix + "full", 7)
    async with mount(moto_address, tmp_path) as made:
        source = made.source(prefix + "full", etag)
        reader = made.open(source)
        while not made.objects.of(source).is_fetched_whole:
            await scattered(reader, body, 1, seed=made.budget.used)
        made.blocks._min_free = 1 << 60
        await scattered(reader, body, 30)
        await made.settled()
        await scattered(reader, body, 5)
        await reader.close()
        assert made.whole.fetched <= _SIZE


async def test_refusals_end_it_and_readers_go_on(
    moto_address: str,
    moto_user: Any,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing(_Slow):
        async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
            if not retry:
                raise Unavailable("SlowDown")
            return await super().fetch(start, end, retry=retry)

    monkeypatch.setattr(whole_fetch, "_PAUSE_S", 0.01)
    etag, body = put(moto_user, prefix + "refused", 8)
    async with mount(moto_address, tmp_path) as made:
        key = prefix + "refused"
        version = ObjectVersion(key, etag, _SIZE)
        source = Refusing(made.bucket, version, lambda: None, made.blocks)
        reader = made.open(source)
        await scattered(reader, body, 60)
        assert made.objects.of(source).not_before > 0
        await reader.close()
        assert made.whole.fetched == 0


async def test_it_is_given_up_when_nobody_reads_on(
    moto_address: str,
    moto_user: Any,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whole_fetch, "_IDLE_S", -1.0)
    monkeypatch.setattr(whole_fetch, "_GIVE_UP_S", 0.2)
    etag, body = put(moto_user, prefix + "idle", 9)
    async with mount(moto_address, tmp_path) as made:
        source = made.source(prefix + "idle", etag)
        reader = made.open(source)
        await scattered(reader, body, 40)
        assert made.objects.of(source).is_fetched_whole
        await made.settled()
        await reader.close()
        assert made.whole.fetched == 0


async def test_the_mount_ends_in_the_middle(
    moto_address: str, moto_user: Any, prefix: str, tmp_path: Path
) -> None:
    etag, body = put(moto_user, prefix + "ending", 10)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            made = _Mount(moto_address, nursery, tmp_path, 2048 * MIB)
            source = made.source(prefix + "ending", etag)
            reader = made.open(source)
            while not made.objects.of(source).is_fetched_whole:
                await scattered(reader, body, 1, seed=made.budget.used)
            await reader.close()
            nursery.cancel_scope.cancel()
        assert made.budget.used == 0
        assert not list(made.objects.of(source).shared)
        made.blocks.close()
