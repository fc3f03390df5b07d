"""Readers of an object that another client appends to."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.content.writing import following
from provenafs.content.writing.open_files import FileHandle
from tests.support.faultproxy import Request
from tests.support.memory_bucket import Exchange, Fault, MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, open_store

OLD = random.Random(1).randbytes(2 * MIB + 17)
MORE = random.Random(2).randbytes(MIB + 5)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(following, "_WITHIN_S", 60.0)


@pytest.fixture
async def store(faulty: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(faulty, prefix, tmp_path) as store:
        yield store


def put(store: Store, client: Any, body: bytes) -> None:
    client.put_object(Bucket=BUCKET, Key=store.prefix + "log", Body=body)


async def look(store: Store) -> tuple[int, int]:
    """The inode and size of the file as a new listing shows it."""
    store.index.expire(store.top.ino)
    entry = await store.entry("log")
    return entry.ino, entry.size


async def opened(store: Store, expected: bytes, flags: int = os.O_RDONLY) -> FileHandle:
    """A handle through which all has been read, and is in the cache."""
    handle = await store.open("log", flags)
    assert await handle.read(0, 4 * MIB) == expected
    entry = await store.entry("log")
    with trio.fail_after(20):
        while store.drive.cached_bytes(entry) < entry.size:
            await trio.sleep(0.01)
    return handle


@pytest.mark.parametrize("old", [b"", b"one\n", OLD])
async def test_what_is_appended_is_read_on_through_the_same_handle(
    store: Store, other_user: MemoryClient, old: bytes
) -> None:
    put(store, other_user, old)
    inode, _ = await look(store)
    handle = await opened(store, old)
    for size in (5, len(MORE)):
        put(store, other_user, old + MORE[:size])
        assert await look(store) == (inode, len(old) + size)
        put(store, other_user, b"another")  # what is shown can be read, whatever comes next
        assert await handle.read(0, 4 * MIB) == old + MORE[:size]
    await handle.release()


async def test_reads_at_once_all_see_what_was_appended(
    store: Store, other_user: MemoryClient
) -> None:
    put(store, other_user, b"one\n")
    handle = await opened(store, b"one\n")
    put(store, other_user, b"one\ntwo\n")
    await look(store)
    read: list[bytes] = []

    async def read_all() -> None:
        read.append(bytes(await handle.read(0, 100)))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(read_all)
    assert read == [b"one\ntwo\n"] * 4
    await handle.release()


@pytest.mark.parametrize("new", [b"One\ntwo\n", b"one"])
async def test_another_object_is_another_inode(
    store: Store, other_user: MemoryClient, new: bytes
) -> None:
    put(store, other_user, b"one\n")
    handle = await opened(store, b"one\n")
    inode, _ = await look(store)
    put(store, other_user, new)
    assert (await look(store))[0] != inode
    assert await handle.read(0, 100) == b"one\n"
    assert await store.read("log") == new
    await handle.release()


async def test_what_was_not_read_as_a_whole_is_not_followed(
    store: Store, other_user: MemoryClient
) -> None:
    put(store, other_user, OLD)
    inode, _ = await look(store)
    handle = await store.open("log", os.O_RDONLY)
    assert await handle.read(0, 100) == OLD[:100]
    put(store, other_user, OLD + MORE)
    assert (await look(store))[0] != inode
    await handle.release()


async def test_an_object_that_grows_while_it_is_looked_at_is_followed(
    store: Store, other_user: MemoryClient, faulty: MemoryServer
) -> None:
    put(store, other_user, b"one\n")
    inode, _ = await look(store)
    handle = await opened(store, b"one\n")
    put(store, other_user, b"one\ntwo\n")
    faulty.fail(lambda request: request.is_read, before(store, other_user, b"one\ntwo\n3\n"), 1)
    assert await look(store) == (inode, 10)
    assert await handle.read(0, 100) == b"one\ntwo\n3\n"
    await handle.release()


def before(store: Store, client: Any, body: bytes) -> Fault:
    """Store something before a request reaches the server."""

    async def fault(exchange: Exchange) -> Any:
        put(store, client, body)
        return exchange.carry_out()

    return fault


async def test_a_file_that_is_being_changed_here_is_not_followed(
    store: Store, other_user: MemoryClient
) -> None:
    put(store, other_user, b"one\n")
    handle = await opened(store, b"one\n", os.O_RDWR)
    etag = handle.file.etag
    put(store, other_user, b"one\ntwo\n")
    async with handle.file.name_lock:
        await look(store)
        assert handle.file.etag == etag
    await handle.release()


async def test_what_is_too_large_is_not_fetched(
    store: Store, other_user: MemoryClient, monkeypatch: pytest.MonkeyPatch, faulty: MemoryServer
) -> None:
    monkeypatch.setattr(following, "LARGEST", 6)
    put(store, other_user, b"one\n")
    handle = await opened(store, b"one\n")
    put(store, other_user, b"one\ntwo\n")
    before_count = faulty.count(is_read)
    await look(store)
    assert faulty.count(is_read) == before_count
    await handle.release()


def is_read(request: Request) -> bool:
    return request.is_read
