"""What readers see of a file that this mount replaces or removes while they have it open."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from provenafs.content.writing import keeping
from provenafs.content.writing.open_files import FileHandle
from provenafs.errors import FSError
from tests.support.memory_bucket import Hold, MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, objects, open_store

OLD = random.Random(1).randbytes(3 * MIB + 17)


@pytest.fixture
async def store(faulty: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(faulty, prefix, tmp_path) as store:
        yield store


async def rename_over(store: Store) -> None:
    await store.write("new", b"new")
    await store.rename("new", "f")


async def rename_over_before_close(store: Store) -> None:
    handle = await store.open("new", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"new")
    await store.rename("new", "f")
    await handle.flush()
    await handle.release()


async def remove_and_write_anew(store: Store) -> None:
    await store.unlink("f")
    await store.write("f", b"new")


REPLACEMENTS = [rename_over, rename_over_before_close, remove_and_write_anew]


async def opened(store: Store, client: Any) -> FileHandle:
    """A handle through which a little of an object has been read."""
    client.put_object(Bucket=BUCKET, Key=store.prefix + "f", Body=OLD)
    handle = await store.open("f")
    assert await handle.read(0, 4096) == OLD[:4096]
    return handle


@pytest.mark.parametrize("replace", REPLACEMENTS)
async def test_open_handles_go_on_reading_what_they_opened(
    store: Store, other_user: MemoryClient, replace: Callable[[Store], Awaitable[None]]
) -> None:
    handle = await opened(store, other_user)
    await replace(store)
    assert objects(other_user, store.prefix) == {"f": b"new"}
    assert await handle.read(4096, len(OLD)) == OLD[4096:]
    assert await handle.read(len(OLD), 100) == b""
    assert await store.read("f") == b"new"
    await handle.release()
    assert store.area.used == 0
    assert not store.failures


@pytest.mark.parametrize("replace", REPLACEMENTS)
async def test_what_is_too_large_is_stale_at_once_and_nobody_elses_doing(
    store: Store,
    other_user: MemoryClient,
    replace: Callable[[Store], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "LARGEST", MIB)
    handle = await opened(store, other_user)
    await replace(store)
    store.bucket.sent.clear()
    with pytest.raises(FSError) as caught:
        await handle.read(2 * MIB, 4096)
    assert caught.value.errno == errno.ESTALE
    assert "on this machine" in caught.value.message
    assert not store.bucket.sent
    assert await store.read("f") == b"new"
    await handle.release()


async def test_what_is_written_to_a_replaced_file_stays_with_its_handles(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await opened(store, other_user)
    await rename_over(store)
    await handle.write(10, b"mine")
    assert await handle.read(0, len(OLD)) == OLD[:10] + b"mine" + OLD[14:]
    await handle.flush()
    await handle.release()
    assert objects(other_user, store.prefix) == {"f": b"new"}
    assert store.area.used == 0
    assert not await store.journal.rows()


async def test_what_was_written_before_is_kept_as_well(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await opened(store, other_user)
    await handle.write(10, b"mine")
    await rename_over(store)
    assert await handle.read(0, len(OLD)) == OLD[:10] + b"mine" + OLD[14:]
    await handle.release()


async def test_a_file_that_is_not_replaced_after_all_is_what_it_was(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await opened(store, other_user)
    await store.write("new", b"new")
    other_user.delete_object(Bucket=BUCKET, Key=store.prefix + "new")
    with pytest.raises(FSError):
        await store.rename("new", "f")
    assert await handle.read(4096, len(OLD)) == OLD[4096:]
    await handle.write(0, b"mine")
    await handle.flush()
    await handle.write(len(OLD), b"more")
    await handle.flush()
    await handle.release()
    expected = b"mine" + OLD[4:] + b"more"
    assert objects(other_user, store.prefix)["f"] == expected
    assert await store.read("f") == expected
    assert store.area.used == 0


async def test_a_read_that_is_overtaken_by_the_replacement_gets_the_old_bytes(
    store: Store, other_user: MemoryClient, faulty: MemoryServer
) -> None:
    handle = await opened(store, other_user)
    hold = Hold()
    faulty.fail(lambda request: request.is_read, hold, times=1)
    read: list[bytes] = []

    async def read_on() -> None:
        read.append(bytes(await handle.read(2 * MIB, 4096)))

    async with trio.open_nursery() as nursery:
        before = faulty.count(lambda request: request.is_read)
        nursery.start_soon(read_on)
        while faulty.count(lambda request: request.is_read) == before:
            await trio.sleep(0.01)
        await rename_over(store)
        assert not read
        hold.go_on.set()
    assert read == [OLD[2 * MIB : 2 * MIB + 4096]]
    assert (await store.entry("f")).ino != handle.file.ino
    await handle.release()


async def test_without_a_reader_nothing_is_fetched(store: Store, other_user: MemoryClient) -> None:
    await (await opened(store, other_user)).release()
    store.bucket.sent.clear()
    await rename_over(store)
    assert not [
        line for line, _ in store.bucket.sent if line.startswith("GET") and "list" not in line
    ]


REMOVALS = [
    ("DELETE", lambda store: store.unlink("f")),
    ("PUT", lambda store: store.rename("g", "f")),
]


@pytest.mark.parametrize(("method", "remove"), REMOVALS)
async def test_a_file_is_not_opened_any_more_once_it_was_seen_who_has_it_open(
    store: Store,
    faulty: MemoryServer,
    other_user: MemoryClient,
    nursery: trio.Nursery,
    method: str,
    remove: Callable[[Store], Awaitable[None]],
) -> None:
    for name in "fg":
        other_user.put_object(Bucket=BUCKET, Key=store.prefix + name, Body=OLD)
    entry = await store.entry("f")
    hold, opened = Hold(), list[object]()
    faulty.fail(lambda request: request.method == method, hold, times=1)

    async def read() -> None:
        try:
            handle = await store.changes.open(store.volume, entry, os.O_RDONLY)
        except FSError as error:
            opened.append(error.errno)
        else:
            opened.append(await handle.read(0, 10))
            await handle.release()

    async with trio.open_nursery() as changing:
        changing.start_soon(remove, store)
        await hold.reached.wait()
        changing.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert opened == []
        hold.go_on.set()
    assert opened == [errno.ESTALE]  # the kernel looks the name up again
    assert store.files.known(entry.ino) is None


@pytest.mark.parametrize("path", ["g", "d/f"])
async def test_a_file_that_was_renamed_and_then_removed_is_read_where_it_is(
    store: Store, other_user: MemoryClient, path: str
) -> None:
    for name in ("f", "c/f"):
        other_user.put_object(Bucket=BUCKET, Key=store.prefix + name, Body=OLD)
    handle = await store.open("f" if path == "g" else "c/f", os.O_RDONLY)
    await store.rename(*(("f", "g") if path == "g" else ("c", "d")))
    await store.unlink(path)
    assert await handle.read(0, len(OLD)) == OLD
    await handle.release()
    await store.deferred_deletes.flush()
    assert path not in objects(other_user, store.prefix)


async def test_a_file_is_followed_though_it_moves_again_meanwhile(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "a", Body=OLD)
    handle = await store.open("a", os.O_RDONLY)
    await store.rename("a", "b")
    hold = Hold()
    faulty.fail(lambda request: request.is_read and request.path.endswith("/b"), hold)
    found = []

    async def read() -> None:
        found.append(await handle.read(0, 10))

    async with trio.open_nursery() as reading:
        reading.start_soon(read)
        await hold.reached.wait()
        await store.rename("b", "c")
        hold.go_on.set()
    assert found == [OLD[:10]]
    await handle.release()
