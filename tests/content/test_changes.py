"""Names: what renames and removals cost, and what they leave in the bucket."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from provenafs.content.listing.index import Kind
from provenafs.errors import FSError
from tests.support.memory_bucket import MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, objects, open_store


@pytest.fixture
async def store(server: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(server, prefix, tmp_path) as store:
        yield store


async def test_directories_are_markers_when_empty(store: Store, other_user: MemoryClient) -> None:
    await store.mkdir("d")
    await store.mkdir("d/e")
    assert objects(other_user, store.prefix) == {"d/": b"", "d/e/": b""}
    assert await _errno(store.mkdir("d")) == errno.EEXIST
    assert await _errno(store.rmdir("d")) == errno.ENOTEMPTY
    await store.rmdir("d/e")
    await store.rmdir("d")
    assert objects(other_user, store.prefix) == {}
    assert await store.names() == []


async def test_a_directory_outlives_its_last_file(store: Store, other_user: MemoryClient) -> None:
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/a", Body=b"x")
    await store.unlink("d/a")
    assert objects(other_user, store.prefix) == {"d/": b""}
    assert await store.names() == ["d"]
    assert await store.names("d") == []
    await store.rmdir("d")
    assert objects(other_user, store.prefix) == {}


@pytest.mark.parametrize("writeback", [False, True])
@pytest.mark.parametrize("data", [b"", b"x"])
async def test_a_new_file_has_nothing_of_the_one_whose_name_it_takes(
    server: MemoryServer,
    prefix: str,
    tmp_path: Path,
    other_user: MemoryClient,
    writeback: bool,
    data: bytes,
) -> None:
    other_user.put_object(
        Bucket=BUCKET, Key=prefix + "old", Body=b"hello", Metadata={"who": "lab 7"}
    )
    async with open_store(server, prefix, tmp_path, writeback=writeback) as store:
        handle = await store.open("new", os.O_CREAT | os.O_RDWR)
        await store.rename("new", "old")
        assert await handle.read(0, 10) == b""
        if data:
            await handle.write(0, data)
            ((row, _),) = await store.journal.rows()
            assert (row.base_size, row.replaces) == (0, True)
        await handle.flush()
        assert await handle.read(0, 10) == data
        await handle.release()
        await store.store.drain()
        assert await store.read("old") == data
    assert objects(other_user, prefix) == {"old": data}
    head = other_user.head_object(Bucket=BUCKET, Key=prefix + "old")
    assert "who" not in head["Metadata"]


async def test_a_new_file_without_a_name_has_nothing_of_the_one_it_was_to_replace(
    store: Store, other_user: MemoryClient
) -> None:
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "old", Body=b"hello")
    handle = await store.open("new", os.O_CREAT | os.O_RDWR)
    await store.rename("new", "old")
    await store.unlink("old")
    assert await handle.read(0, 10) == b""
    await handle.write(0, b"x")
    assert await handle.read(0, 10) == b"x"
    await handle.release()
    assert objects(other_user, store.prefix) == {}
    assert await store.journal.rows() == []


@pytest.mark.parametrize("data", [b"", b"x"])
async def test_a_file_is_renamed_while_it_is_stored(
    store: Store, other_user: MemoryClient, data: bytes
) -> None:
    await store.mkdir("d")
    handle = await store.open("d/a", os.O_CREAT | os.O_WRONLY)
    if data:
        await handle.write(0, data)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle.release)
        await trio.testing.wait_all_tasks_blocked()
        await store.rename("d/a", "d/b")
    assert objects(other_user, store.prefix) == {"d/": b"", "d/b": data}
    assert await store.read("d/b") == data


async def test_names_change_while_files_are_stored_behind(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    """What a name was found to be may be older than what was stored behind since."""
    expected = {}
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        for number in range(40):
            name, target = f"{number}", f"{number}.renamed"
            await _create(store, name)
            await trio.sleep(number % 20 / 1000)
            await store.rename(name, target)
            expected[target] = b""
            await _create(store, name)
            await trio.sleep(number % 20 / 1000)
            await store.truncate(name, 1)
            expected[name] = b"\0"
        await store.store.drain()
        assert store.failures == []
        assert [row for row, _ in await store.journal.rows()] == []
    assert objects(other_user, prefix) == expected


async def test_an_operation_by_name_knows_what_was_stored_meanwhile(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"old")
    before = await store.entry("a")
    await store.write("a", b"new")
    await store.files.truncate(store.volume, before, 2)
    assert objects(other_user, store.prefix) == {"a": b"ne"}


async def test_a_directory_outlives_a_file_that_was_just_stored(
    store: Store, other_user: MemoryClient
) -> None:
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/z", Body=b"x")
    handle = await store.open("d/a", os.O_CREAT | os.O_WRONLY)
    await store.unlink("d/z")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle.release)
        await trio.testing.wait_all_tasks_blocked()
        await store.unlink("d/a")
    await store.store.drain()  # the second of two deletions is made in the background
    assert objects(other_user, store.prefix) == {"d/": b""}


async def test_rmdir_sees_what_somebody_else_has_put_there(
    store: Store, other_user: MemoryClient
) -> None:
    await store.mkdir("d")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/a", Body=b"x")
    assert await _errno(store.rmdir("d")) == errno.ENOTEMPTY
    assert await store.names("d") == ["a"]


async def test_removing_is_conditional(store: Store, other_user: MemoryClient) -> None:
    await store.write("a", b"mine")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "a", Body=b"theirs")
    assert await _errno(store.unlink("a")) == errno.ESTALE
    assert objects(other_user, store.prefix) == {"a": b"theirs"}
    await store.unlink("a")
    assert objects(other_user, store.prefix) == {}
    assert await _errno(store.unlink("a")) == errno.ENOENT


async def test_a_file_is_renamed_by_one_copy_and_one_delete(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"x")
    before = (await store.entry("a")).ino
    await store.rename("a", "b")
    assert objects(other_user, store.prefix) == {"b": b"x"}
    assert (await store.entry("b")).ino == before
    assert await store.names() == ["b"]
    assert await store.read("b") == b"x"
    put, copy, delete = store.bucket.sent[-3:]
    assert put[0].startswith("PUT")
    etag = (await store.entry("b")).etag
    assert copy[1]["x-amz-copy-source-if-match"] == etag
    assert copy[1]["if-none-match"] == "*"
    assert delete[1]["if-match"] == etag


async def test_renaming_over_a_file_expects_that_file(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"new")
    await store.write("b", b"old")
    old = (await store.entry("b")).etag
    assert await _errno(store.rename("a", "b", replace=False)) == errno.EEXIST
    await store.rename("a", "b")
    assert objects(other_user, store.prefix) == {"b": b"new"}
    assert store.bucket.sent[-2][1]["if-match"] == old
    assert await store.read("b") == b"new"


async def test_a_time_set_before_a_rename_costs_no_copy(
    store: Store, other_user: MemoryClient
) -> None:
    # As rsync does: temporary file, close, times, rename.
    await store.write(".a.txt.Xy12Zk", b"x")
    await store.set_mtime(".a.txt.Xy12Zk", 1e9)
    await store.rename(".a.txt.Xy12Zk", "a.txt")
    await store.store.drain()
    assert len(store.requests()) == 3
    head = other_user.head_object(Bucket=BUCKET, Key=store.prefix + "a.txt")
    assert (head["Metadata"]["mtime"], head["ContentType"]) == ("1000000000", "text/plain")
    assert (await store.entry("a.txt")).mtime_ns == 10**18


async def test_an_open_unpublished_file_is_renamed_here(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"x")
    await store.rename("a", "b")
    assert store.requests() == []
    await handle.flush()
    await handle.release()
    assert objects(other_user, store.prefix) == {"b": b"x"}
    assert len(store.requests()) == 1


async def test_a_changed_file_is_renamed_with_its_changes(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"0123")
    handle = await store.open("a")
    await handle.write(0, b"x")
    await store.rename("a", "b")
    await handle.write(1, b"y")
    await handle.flush()
    await handle.release()
    assert objects(other_user, store.prefix) == {"b": b"xy23"}


async def test_a_directory_is_renamed_with_all_below(
    store: Store, other_user: MemoryClient
) -> None:
    await store.mkdir("d")
    for number in range(20):
        await store.write(f"d/{number}", f"{number}".encode())
    await store.mkdir("d/empty")
    handle = await store.open("d/late", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"late")
    await store.rename("d", "e")
    await handle.flush()
    await handle.release()
    expected = {f"e/{number}": f"{number}".encode() for number in range(20)}
    assert objects(other_user, store.prefix) == {
        **expected, "e/": b"", "e/empty/": b"", "e/late": b"late",
    }  # fmt: skip
    assert await store.names() == ["e"]
    assert await store.read("e/7") == b"7"
    assert await store.journal.intents() == []


async def test_directories_go_over_empty_ones_only(store: Store, other_user: MemoryClient) -> None:
    for name in ("a", "b", "c"):
        await store.mkdir(name)
    await store.write("a/x", b"x")
    await store.write("c/y", b"y")
    assert await _errno(store.rename("a", "c")) == errno.ENOTEMPTY
    assert await _errno(store.rename("a", "a/sub")) == errno.EINVAL
    await store.rename("a", "b")
    assert objects(other_user, store.prefix) == {"b/": b"", "b/x": b"x", "c/": b"", "c/y": b"y"}
    assert await _errno(store.rename("b/x", "c")) == errno.EISDIR
    assert await _errno(store.rename("c", "b/x")) == errno.ENOTDIR


async def test_a_directory_above_the_limit_is_exdev(store: Store, other_user: MemoryClient) -> None:
    for number in range(51):
        other_user.put_object(Bucket=BUCKET, Key=f"{store.prefix}d/{number}", Body=b"")
    assert await _errno(store.rename("d", "e")) == errno.EXDEV
    assert store.requests() == []


async def test_an_open_object_is_deleted_with_its_last_handle(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"x")
    handle = await store.open("a", os.O_RDONLY)
    await store.unlink("a")
    assert await store.names() == []
    store.index.expire(store.top.ino)
    assert await store.names() == []
    assert await handle.read(0, 1) == b"x"
    assert objects(other_user, store.prefix) == {"a": b"x"}
    await handle.release()
    await store.store.drain()
    assert objects(other_user, store.prefix) == {}
    assert await store.journal.intents() == []


async def test_a_name_can_be_used_again_while_its_object_is_open(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"x")
    handle = await store.open("a", os.O_RDONLY)
    await store.unlink("a")
    await store.write("a", b"new")
    assert objects(other_user, store.prefix) == {"a": b"new"}
    await handle.release()
    assert await store.read("a") == b"new"


async def test_an_unlinked_file_that_is_written_stays_local(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_RDWR)
    await handle.write(0, b"x")
    await store.unlink("a")
    await handle.write(1, b"y")
    await handle.flush()
    await handle.sync()
    assert await handle.read(0, 5) == b"xy"
    await handle.release()
    assert store.requests() == []
    assert objects(other_user, store.prefix) == {}
    assert await store.journal.rows() == []


async def test_names_that_are_too_long(store: Store) -> None:
    assert await _errno(store.open("é" * 128, os.O_CREAT)) == errno.ENAMETOOLONG


async def _errno(awaitable: Any) -> int:
    with pytest.raises(FSError) as caught:
        await awaitable
    return caught.value.errno


async def _create(store: Store, path: str) -> None:
    """As touch(1) does."""
    handle = await store.open(path, os.O_CREAT | os.O_WRONLY)
    await handle.flush()
    await handle.release()


async def test_an_open_file_does_not_take_somebody_elses_version_with_its_directory(
    store: Store, other_user: MemoryClient
) -> None:
    await store.mkdir("old")
    await store.write("old/a", b"mine")
    handle = await store.open("old/a")
    await handle.write(0, b"MINE")
    other_user.put_object(Bucket=BUCKET, Key=f"{store.prefix}old/a", Body=b"theirs")
    await store.rename("old", "new")
    with pytest.raises(FSError) as caught:
        await handle.flush()
    assert caught.value.errno == errno.ESTALE
    await handle.release()
    assert objects(other_user, store.prefix)["new/a"] == b"theirs"


async def test_a_directory_goes_though_a_file_removed_from_it_is_open(
    store: Store, other_user: MemoryClient
) -> None:
    for name in ("removed", "renamed"):
        await store.mkdir(name)
        await store.write(f"{name}/a", b"x")
    handles = [await store.open(f"{name}/a", os.O_RDONLY) for name in ("removed", "renamed")]
    for name in ("removed", "renamed"):
        await store.unlink(f"{name}/a")
    await store.rmdir("removed")
    await store.rename("renamed", "new")
    for handle in handles:
        await handle.release()
    await store.store.drain()
    assert set(objects(other_user, store.prefix)) == {"new/"}
    assert await store.names() == ["new"]
    assert await store.names("new") == []


async def test_a_name_that_a_listing_saw_first_is_taken(store: Store) -> None:
    index = store.index
    await store.write("a", b"x")
    entry = await store.entry("a")
    index.get_or_create(store.top.ino, "b", Kind.OBJECT)
    index.move(entry.ino, store.top.ino, "b")
    assert [(child.ino, child.name) for child in index.children(store.top.ino)] == [
        (entry.ino, "b")
    ]


async def test_a_reader_goes_on_where_its_file_is_renamed(
    store: Store, other_user: MemoryClient
) -> None:
    data = os.urandom(20 * MIB)
    other_user.put_object(Bucket=BUCKET, Key=f"{store.prefix}old/a", Body=data)
    handle = await store.open("old/a", os.O_RDONLY)
    assert await handle.read(0, 10) == data[:10]
    await store.rename("old/a", "old/b")
    assert await handle.read(15 * MIB, 10) == data[15 * MIB : 15 * MIB + 10]
    await store.rename("old", "new")
    assert await handle.read(9 * MIB, 10) == data[9 * MIB : 9 * MIB + 10]
    await handle.release()


async def test_a_file_is_changed_while_its_time_is_stored(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"before")
    await store.set_mtime("a", 1e9)
    uploads = store.bucket.service.uploads
    holders = [object() for _ in range(int(uploads.total_tokens))]
    for holder in holders:
        uploads.acquire_on_behalf_of_nowait(holder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.attribute_updates.flush)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(store.write, "a", b"after")
        await trio.testing.wait_all_tasks_blocked()
        for holder in holders:
            uploads.release_on_behalf_of(holder)
    assert objects(other_user, store.prefix) == {"a": b"after"}
