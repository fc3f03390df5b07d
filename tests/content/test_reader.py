"""Reading objects of a real server."""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from provenafs.content.cache.block_cache import BlockCache, object_id
from provenafs.content.object_version import ObjectVersion
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.reader import Reader
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.lib.buffers import Buffers
from provenafs.s3.errors import S3Error, Unavailable
from tests.support.memory_bucket import MemoryBucket, MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET

MIB = 1024**2


class Reads:
    """Readers of one object, and the ranges they asked the bucket for."""

    def __init__(self, server: MemoryServer, nursery: trio.Nursery, memory: int) -> None:
        self.bucket = MemoryBucket(server, 5.0)
        self.budget = ReadAheadBudget(memory)
        self.nursery = nursery
        self.ranges: list[tuple[int, int]] = []
        self.stale = 0

    def open(self, key: str, size: int, etag: str) -> Reader:
        source = _Counted(self, key, size, etag)
        return Reader(source, self.budget, Background(self.nursery))

    def found_stale(self) -> None:
        self.stale += 1


class _Counted(ObjectSource):
    def __init__(self, reads: Reads, key: str, size: int, etag: str) -> None:
        super().__init__(reads.bucket, ObjectVersion(key, etag, size), reads.found_stale)
        self._reads = reads

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        self._reads.ranges.append((start, end))
        return await super().fetch(start, end, retry=retry)


@asynccontextmanager
async def reads(server: MemoryServer, memory: int = 64 * MIB) -> AsyncIterator[Reads]:
    """Readers whose budget is back at zero in the end."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            made = Reads(server, nursery, memory)
            yield made
        assert made.budget.used == 0


def put(client: Any, key: str, body: bytes) -> str:
    return str(client.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"])


async def test_bytes_read_in_sequence_are_those_of_the_object(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = random.Random(1).randbytes(20 * MIB + 12345)
    etag = put(other_user, prefix + "big", body)
    async with reads(server) as made:
        reader = made.open(prefix + "big", len(body), etag)
        got = bytearray()
        while part := await reader.read(len(got), 300_000):
            got += part
        await reader.close()
    assert bytes(got) == body
    assert sum(end - start for start, end in made.ranges) == len(body)


async def test_random_and_concurrent_reads(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = random.Random(2).randbytes(8 * MIB)
    etag = put(other_user, prefix + "random", body)
    draw = random.Random(3)
    async with reads(server, memory=4 * MIB) as made:
        reader = made.open(prefix + "random", len(body), etag)

        async def check(offset: int, size: int) -> None:
            assert bytes(await reader.read(offset, size)) == body[offset : offset + size]

        for _ in range(20):
            async with trio.open_nursery() as nursery:
                base = draw.randrange(len(body))
                for _ in range(8):
                    nursery.start_soon(
                        check, min(len(body), base + draw.randrange(MIB)), draw.randrange(1, MIB)
                    )
        assert await reader.read(len(body), 10) == b""
        await reader.close()


@pytest.mark.parametrize("memory", [64 * MIB, MIB])
async def test_headers_at_equal_distances_are_those_of_the_object(
    server: MemoryServer, other_user: MemoryClient, prefix: str, memory: int
) -> None:
    body = random.Random(4).randbytes(15 * (2 * MIB + 300))
    etag = put(other_user, prefix + "model", body)
    draw = random.Random(5)
    places = [number * (2 * MIB + 300) + draw.randrange(1000) for number in range(15)]
    async with reads(server, memory) as made:
        reader = made.open(prefix + "model", len(body), etag)
        for place in [0, *draw.sample(places, len(places)), *draw.sample(places, len(places))]:
            assert bytes(await reader.read(place, 512)) == body[place : place + 512]
            await trio.sleep(0.01)
        await reader.close()
    assert sum(end - start for start, end in made.ranges) < 25 * 128 * 1024


async def test_a_replaced_object_is_stale_and_never_mixed(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = bytes(6 * MIB)
    etag = put(other_user, prefix + "changing", body)
    async with reads(server) as made:
        reader = made.open(prefix + "changing", len(body), etag)
        assert await reader.read(0, 4096) == bytes(4096)
        put(other_user, prefix + "changing", b"x" * len(body))
        assert await reader.read(8192, 4096) == bytes(4096)  # fetched before
        with pytest.raises(FSError) as caught:
            await reader.read(5 * MIB, 4096)
        assert caught.value.errno == errno.ESTALE
        assert made.stale == 1
        other_user.delete_object(Bucket=BUCKET, Key=prefix + "changing")
        with pytest.raises(FSError) as caught:
            await made.open(prefix + "changing", len(body), etag).read(0, 1)
        assert caught.value.errno == errno.ESTALE
        await reader.close()


async def test_fewer_bytes_than_asked_for_are_an_error_and_no_wait(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    class Short(ObjectSource):
        async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
            return memoryview(b"short")

    etag = put(other_user, prefix + "short", bytes(100))
    async with reads(server) as made:
        source = Short(made.bucket, ObjectVersion(prefix + "short", etag, 100), made.found_stale)
        reader = Reader(source, made.budget, Background(made.nursery))
        with trio.fail_after(2), pytest.raises(FSError) as caught:
            await reader.read(0, 100)
        assert caught.value.errno == errno.EIO
        await reader.close()


async def test_closing_while_reading_ahead_gives_the_memory_back(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = bytes(32 * MIB)
    etag = put(other_user, prefix + "long", body)
    async with reads(server) as made:
        reader = made.open(prefix + "long", len(body), etag)
        for offset in range(0, 2 * MIB, 256 * 1024):
            await reader.read(offset, 256 * 1024)
        assert made.budget.used > 0
        await reader.close()


async def test_a_failed_read_ahead_is_tried_again_when_it_is_read(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = random.Random(6).randbytes(4 * MIB)
    etag = put(other_user, prefix + "failing", body)

    class Failing(_Counted):
        async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
            if not retry:
                raise Unavailable("refused")
            return await super().fetch(start, end, retry=retry)

    async with reads(server) as made:
        source = Failing(made, prefix + "failing", len(body), etag)
        reader = Reader(source, made.budget, Background(made.nursery))
        got = bytearray()
        while part := await reader.read(len(got), 100_000):
            got += part
        await reader.close()
    assert bytes(got) == body


async def test_a_failure_reaches_only_the_reads_of_its_range(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = bytes(4 * MIB)
    etag = put(other_user, prefix + "broken", body)

    class Broken(_Counted):
        async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
            if start <= 2 * MIB < end:
                raise Unavailable("refused")
            return await super().fetch(start, end, retry=retry)

    async with reads(server) as made:
        source = Broken(made, prefix + "broken", len(body), etag)
        reader = Reader(source, made.budget, Background(made.nursery))
        assert len(await reader.read(0, 65536)) == 65536
        with pytest.raises(S3Error):
            await reader.read(2 * MIB, 4096)
        assert len(await reader.read(3 * MIB, 4096)) == 4096
        await reader.close()


async def test_who_stopped_reading_makes_room(autojump_clock: trio.testing.MockClock) -> None:
    budget = ReadAheadBudget(1000)

    class Holds:
        def __init__(self) -> None:
            self.held = 0

        def shed(self) -> None:
            budget.give_back(self.held)
            self.held = 0

    first, second = Holds(), Holds()
    budget.touch(first)
    assert budget.try_take(900, first)
    first.held = 900
    budget.touch(second)
    assert not budget.try_take(200, second)
    await trio.sleep(3)
    budget.touch(second)
    assert budget.try_take(200, second)
    assert (first.held, budget.used) == (0, 200)


async def test_what_was_read_makes_room_for_others(
    server: MemoryServer, other_user: MemoryClient, prefix: str
) -> None:
    body = random.Random(3).randbytes(4 * MIB)
    key = prefix + "held"
    etag = other_user.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"]
    async with reads(server) as made:
        reader = made.open(key, len(body), etag)
        assert await reader.read(2 * MIB, 10) == body[2 * MIB : 2 * MIB + 10]
        await trio.testing.wait_all_tasks_blocked()
        assert made.budget.used > 0
        reader.shed()
        assert made.budget.used == 0
        assert await reader.read(2 * MIB, 10) == body[2 * MIB : 2 * MIB + 10]
        await reader.close()


class _CountedBucket(MemoryBucket):
    """A bucket, and the ranges it was asked for."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server, 5.0)
        self.asked: list[tuple[int, int]] = []

    async def read_range(
        self, key: str, start: int, length: int, etag: str, *, size: int, retry: bool = True
    ) -> memoryview:
        self.asked.append((start, start + length))
        return await super().read_range(key, start, length, etag, size=size, retry=retry)


class Cached:
    """An object in a bucket, read through a block cache."""

    def __init__(self, made: Reads, bucket: _CountedBucket, blocks: BlockCache) -> None:
        self.bucket = bucket
        self.blocks = blocks
        self._made = made

    def open(self, key: str, size: int, etag: str) -> Reader:
        version = ObjectVersion(key, etag, size)
        source = ObjectSource(self.bucket, version, self._made.found_stale, cache=self.blocks)
        return Reader(source, self._made.budget, Background(self._made.nursery))

    async def keep(self, key: str, etag: str, start: int, data: bytes) -> None:
        await self.blocks.store(object_id(BUCKET, key, etag), start, memoryview(data))


@asynccontextmanager
async def cached_reads(server: MemoryServer, folder: Path) -> AsyncIterator[Cached]:
    async with reads(server) as made:
        blocks = BlockCache(folder, Buffers(), 1024 * MIB, 0)
        try:
            yield Cached(made, _CountedBucket(server), blocks)
        finally:
            blocks.close()


async def in_sequence(reader: Reader, piece: int) -> bytes:
    got = bytearray()
    while part := await reader.read(len(got), piece):
        got += part
    return bytes(got)


def moved(ranges: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges)


async def test_what_is_cached_is_read_at_once(
    server: MemoryServer, other_user: MemoryClient, prefix: str, tmp_path: Path
) -> None:
    body = random.Random(11).randbytes(20 * MIB + 777)
    etag = put(other_user, prefix + "cached", body)
    async with cached_reads(server, tmp_path) as made:
        await made.keep(prefix + "cached", etag, 0, body)
        reader = made.open(prefix + "cached", len(body), etag)
        draw = random.Random(12)
        places = [draw.randrange(len(body)) for _ in range(200)]
        for place in places:
            length = draw.randrange(1, 200_000)
            assert await reader.read(place, length) == body[place : place + length]
        at_once = 0
        for place in places:
            with suppress(AssertionError), trio.testing.assert_no_checkpoints():
                data = await reader.read(place, 1000)
                at_once += 1
            assert data == body[place : place + 1000]
        # Where the file system never answers from its page cache alone, a thread does.
        assert at_once == 0 or at_once > len(places) // 2
        assert await in_sequence(reader, 128 * 1024) == body
        await reader.close()
        assert made.bucket.asked == []


async def test_of_what_is_partly_cached_the_rest_is_fetched(
    server: MemoryServer, other_user: MemoryClient, prefix: str, tmp_path: Path
) -> None:
    body = random.Random(13).randbytes(12 * MIB)
    etag = put(other_user, prefix + "partly", body)
    cached = [(0, 1), (3, 5), (8, 9)]
    async with cached_reads(server, tmp_path) as made:
        for low, high in cached:
            start, end = low * MIB, high * MIB
            await made.keep(prefix + "partly", etag, start, body[start:end])
        reader = made.open(prefix + "partly", len(body), etag)
        assert await in_sequence(reader, 300_000) == body
        await reader.close()
        assert moved(made.bucket.asked) == 8 * MIB


async def test_read_ahead_goes_on_where_cached_bytes_end(
    server: MemoryServer, other_user: MemoryClient, prefix: str, tmp_path: Path
) -> None:
    body = random.Random(14).randbytes(12 * MIB)
    etag = put(other_user, prefix + "begun", body)
    async with cached_reads(server, tmp_path) as made:
        await made.keep(prefix + "begun", etag, 0, body[: 8 * MIB])
        for _ in range(2):  # the second time from the page cache
            reader = made.open(prefix + "begun", len(body), etag)
            for start in range(0, 7 * MIB, MIB):
                assert await reader.read(start, MIB) == body[start : start + MIB]
            await trio.testing.wait_all_tasks_blocked()
            await reader.close()
        assert made.bucket.asked


async def test_a_replaced_object_is_read_as_far_as_it_is_cached(
    server: MemoryServer, other_user: MemoryClient, prefix: str, tmp_path: Path
) -> None:
    body = random.Random(15).randbytes(6 * MIB)
    key = prefix + "replaced"
    etag = put(other_user, key, body)
    async with cached_reads(server, tmp_path) as made:
        await made.keep(key, etag, 0, body)
        reader = made.open(key, len(body), etag)
        assert await reader.read(5 * MIB, 4096) == body[5 * MIB : 5 * MIB + 4096]
        put(other_user, key, bytes(6 * MIB))
        assert await reader.read(2 * MIB, 4096) == body[2 * MIB : 2 * MIB + 4096]
        await made.blocks.evict(object_id(BUCKET, key, etag))
        with pytest.raises(FSError) as caught:
            await reader.read(2 * MIB, 4096)
        assert caught.value.errno == errno.ESTALE
        await reader.close()
