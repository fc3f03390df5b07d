"""Writing files: what is in the bucket after a close, what a close costs, what a conflict keeps."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from provenafs.content.journal_schema import State
from provenafs.content.staging import staged_bytes as staging
from provenafs.errors import FSError
from provenafs.lib.direct_io import read_at, write_directly
from tests.support.memory_bucket import MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, objects, open_store


@pytest.fixture
async def store(server: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(server, prefix, tmp_path) as store:
        yield store


@pytest.fixture
async def threaded(moto_address: str, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    """In real time, with threads that can be kept waiting."""
    async with open_store(moto_address, prefix, tmp_path) as store:
        yield store


async def test_close_means_stored_with_one_put(store: Store, other_user: MemoryClient) -> None:
    handle = await store.open("a.csv", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"hello")
    assert objects(other_user, store.prefix) == {}
    await handle.flush()
    assert objects(other_user, store.prefix) == {"a.csv": b"hello"}
    await handle.flush()
    await handle.release()
    assert len(store.requests()) == 1
    head = other_user.head_object(Bucket=BUCKET, Key=store.prefix + "a.csv")
    assert head["ContentType"] == "text/csv"
    entry = await store.entry("a.csv")
    assert (entry.size, entry.etag, entry.staged) == (5, head["ETag"], False)
    assert float(head["Metadata"]["mtime"]) == pytest.approx(entry.shown_mtime_ns / 1e9)
    assert await store.read("a.csv") == b"hello"
    assert await _leftovers(store) == []


async def test_a_file_opened_while_its_last_release_waits_for_the_disk_stays_known(
    threaded: Store, moto_user: Any, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * (24 * MIB // 256)
    goes_on = threading.Event()

    def slow_disk(file: int, piece: memoryview, offset: int) -> None:
        goes_on.wait(20)
        write_directly(file, piece, offset)

    monkeypatch.setattr(staging, "write_directly", slow_disk)
    first = await threaded.open("a", os.O_CREAT | os.O_WRONLY)
    for offset in range(0, 16 * MIB + 100, MIB):
        await first.write(offset, data[offset : offset + MIB])
    await first.flush()  # from memory: the disk has not a byte of the second part yet
    assert objects(moto_user, threaded.prefix) == {"a": data[: 17 * MIB]}
    nursery.start_soon(first.release)
    await trio.testing.wait_all_tasks_blocked(0.05)
    second = await threaded.open("a", os.O_RDWR)
    goes_on.set()
    await trio.testing.wait_all_tasks_blocked(0.05)
    third = await threaded.open("a", os.O_RDWR)
    assert second.file is third.file
    await second.write(0, b"new")
    assert await third.read(0, 5) == b"new" + data[3:5]
    for handle in (second, third):
        await handle.flush()
        await handle.release()
    assert objects(moto_user, threaded.prefix) == {"a": b"new" + data[3 : 17 * MIB]}
    assert await _leftovers(threaded) == []


async def test_an_empty_file_is_stored_at_release_only(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.flush()
    assert objects(other_user, store.prefix) == {}
    await handle.release()
    assert objects(other_user, store.prefix) == {"a": b""}
    assert store.failures == []


async def test_fsync_stores_an_empty_file(store: Store, other_user: MemoryClient) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.sync()
    assert objects(other_user, store.prefix) == {"a": b""}
    await handle.release()
    assert len(store.requests()) == 1


async def test_shell_redirection_costs_one_put(store: Store, other_user: MemoryClient) -> None:
    await store.write("a", b"old")
    handle = await store.open("a", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    await handle.flush()  # the shell's own descriptor, before the program writes
    assert objects(other_user, store.prefix) == {"a": b"old"}
    await handle.write(0, b"new")
    await handle.flush()
    await handle.release()
    assert objects(other_user, store.prefix) == {"a": b"new"}
    assert len(store.requests("PUT")) == 2


async def test_a_group_of_commands_publishes_after_each(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    for number, word in enumerate((b"one ", b"two ", b"six ")):
        await handle.write(4 * number, word)
        await handle.flush()
    assert objects(other_user, store.prefix) == {"a": b"one two six "}
    await handle.release()
    assert len(store.requests("PUT")) == 3


async def test_random_writes_truncation_and_appends(store: Store, other_user: MemoryClient) -> None:
    base = os.urandom(3 * MIB)
    await store.write("a", base)
    handle = await store.open("a")
    await handle.write(MIB, b"middle")
    await store.truncate("a", 2 * MIB)
    await handle.write(2 * MIB + 10, b"end")
    expected = bytearray(base[: 2 * MIB]) + bytes(10) + b"end"
    expected[MIB : MIB + 6] = b"middle"
    assert await handle.read(0, 4 * MIB) == expected
    other = await store.open("a", os.O_RDONLY)
    assert await other.read(MIB, 6) == b"middle"
    await other.flush()
    await other.release()
    await handle.flush()
    await handle.release()
    assert objects(other_user, store.prefix) == {"a": expected}
    assert await store.read("a") == expected
    assert await _leftovers(store) == []


async def test_truncate_without_a_handle_is_stored(store: Store, other_user: MemoryClient) -> None:
    await store.write("a", b"0123456789")
    await store.truncate("a", 4)
    assert objects(other_user, store.prefix) == {"a": b"0123"}
    await store.truncate("a", 0)
    await store.truncate("a", 2)
    assert objects(other_user, store.prefix) == {"a": b"\0\0"}
    assert await _leftovers(store) == []


async def test_a_large_file_is_sent_while_it_is_written(
    store: Store, other_user: MemoryClient
) -> None:
    data = os.urandom(41 * MIB)
    handle = await store.open("big", os.O_CREAT | os.O_WRONLY)
    for offset in range(0, len(data), MIB):
        await handle.write(offset, data[offset : offset + MIB])
    with trio.fail_after(20):
        while handle.file.sent_bytes < 24 * MIB:
            await handle.file.wait_for_part()
    await handle.write(10, b"header")  # the first part has to be sent again
    await handle.flush()
    await handle.release()
    expected = bytearray(data)
    expected[10:16] = b"header"
    assert objects(other_user, store.prefix) == {"big": bytes(expected)}
    assert await store.read("big") == expected
    uploads = other_user.list_multipart_uploads(Bucket=BUCKET, Prefix=store.prefix)
    assert "Uploads" not in uploads


async def test_appending_sends_only_what_is_new(store: Store, other_user: MemoryClient) -> None:
    base = os.urandom(30 * MIB)
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "big", Body=base)
    handle = await store.open("big", os.O_WRONLY | os.O_APPEND)
    await handle.write(len(base), b"more" * 1000)
    await handle.flush()
    await handle.release()
    assert objects(other_user, store.prefix) == {"big": base + b"more" * 1000}
    bodies = [int(h.get("content-length", 0)) for _, h in store.bucket.sent]
    assert sum(bodies) < 10_000
    conditions = [h for _, h in store.bucket.sent if "if-match" in h]
    assert len(conditions) == 1  # the completion; moto does not enforce it there
    assert [h for _, h in store.bucket.sent if "x-amz-copy-source-if-match" in h]


async def test_a_change_in_the_middle_of_a_large_object(
    store: Store, other_user: MemoryClient
) -> None:
    base = bytearray(os.urandom(30 * MIB))
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "big", Body=bytes(base))
    handle = await store.open("big")
    await handle.write(12 * MIB, b"x")
    await handle.flush()
    await handle.write(0, b"y")
    await handle.flush()
    await handle.release()
    base[12 * MIB] = ord("x")
    base[0] = ord("y")
    assert objects(other_user, store.prefix) == {"big": bytes(base)}
    bodies = [int(h.get("content-length", 0)) for _, h in store.bucket.sent]
    assert sum(bodies) < 11 * MIB


async def test_somebody_elses_change_is_not_overwritten(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"base")
    handle = await store.open("a")
    await handle.write(0, b"mine")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "a", Body=b"theirs")
    assert await _errno(handle.flush()) == errno.ESTALE
    assert await _errno(handle.write(4, b"more")) == errno.ESTALE
    assert await handle.read(0, 10) == b"mine"
    await handle.release()
    assert objects(other_user, store.prefix) == {"a": b"theirs"}
    assert await store.read("a") == b"theirs"
    ((row, alive),) = await store.journal.rows()
    assert (row.state, alive, row.key) == (State.FAILED, False, store.prefix + "a")
    assert store.area.path(row.id).read_bytes() == b"mine"


async def test_what_is_left_of_a_refused_append_is_read_to_its_end(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"base")
    assert await store.read("a") == b"base"  # and cached
    entry = await store.entry("a")
    handle = await store.open("a")
    await handle.write(4, bytes(60_000))
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "a", Body=b"theirs")
    assert await _errno(handle.flush()) == errno.ESTALE
    await handle.release()
    # As /proc/self/fd/N of a descriptor with O_PATH: no look at the name shows the new object.
    again = store.files.open(store.volume, store.index.get(entry.ino) or entry)
    with trio.fail_after(5):
        assert await again.read(0, 100_000) == b"base"
        assert await again.read(4, 100_000) == b""
    await again.release()


async def test_a_refused_file_that_took_anothers_name_shows_that_object(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"their object")
    handle = await store.open("new", os.O_CREAT | os.O_WRONLY)
    await store.rename("new", "a")
    entry = await store.entry("a")
    assert entry.size == 0
    await handle.write(0, b"mine")
    etag = objects_etag(other_user, store.prefix + "a")
    store.refusal = FSError(errno.EROFS, "released")
    assert await _errno(handle.flush()) == errno.EROFS
    await handle.release()
    left = store.index.get(entry.ino)
    assert left is not None
    assert (left.size, left.etag) == (len(b"their object"), etag)


async def test_two_new_files_of_one_name_do_not_overwrite(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"mine")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "a", Body=b"theirs")
    assert await _errno(handle.flush()) == errno.ESTALE
    await handle.release()
    assert await store.read("a") == b"theirs"


async def test_a_dataset_released_meanwhile_keeps_the_bytes(
    store: Store, other_user: MemoryClient
) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"late")
    store.refusal = FSError(errno.EROFS, "released")
    assert await _errno(handle.flush()) == errno.EROFS
    await handle.release()
    assert objects(other_user, store.prefix) == {}
    ((row, _),) = await store.journal.rows()
    assert row.state is State.FAILED
    assert "released" in row.reason
    assert await _errno(store.open("b", os.O_CREAT)) == errno.EROFS


async def test_a_full_staging_area_is_enospc_and_the_rest_goes_on(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, staging_size=MIB) as store:
        handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
        await handle.write(0, bytes(MIB))
        assert await _errno(handle.write(MIB, b"x")) == errno.ENOSPC
        await handle.flush()
        await handle.release()
        await store.write("b", b"fits again")
    assert objects(other_user, prefix) == {"a": bytes(MIB), "b": b"fits again"}


async def test_a_writer_waits_for_the_room_of_what_is_sent_behind(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    options: dict[str, Any] = {"staging_size": MIB, "writeback": True}
    async with open_store(server, prefix, tmp_path, **options) as store:
        uploads = store.bucket.service.uploads
        holders = [object() for _ in range(int(uploads.total_tokens))]
        for holder in holders:
            uploads.acquire_on_behalf_of_nowait(holder)
        await store.write("a", bytes(MIB))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, "b", bytes(MIB))
            await trio.testing.wait_all_tasks_blocked()
            for holder in holders:
                uploads.release_on_behalf_of(holder)
        await store.store.drain()
    assert objects(other_user, prefix) == {"a": bytes(MIB), "b": bytes(MIB)}


async def test_files_larger_than_the_staging_area(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    data = os.urandom(60 * MIB)
    async with open_store(server, prefix, tmp_path, staging_size=24 * MIB) as store:
        handle = await store.open("big", os.O_CREAT | os.O_RDWR)
        for offset in range(0, len(data), MIB):
            await handle.write(offset, data[offset : offset + MIB])
            assert store.area.used <= 24 * MIB
        assert await _errno(handle.read(0, 10)) == errno.EIO
        assert await _errno(handle.write(0, b"x")) == errno.EIO
        await handle.flush()
        assert await handle.read(0, 10) == data[:10]
        await handle.release()
        assert await _leftovers(store) == []
    assert objects(other_user, prefix) == {"big": data}


async def test_room_is_never_made_in_a_file_that_was_closed_meanwhile(
    store: Store, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of its descriptor may be that of another file by then."""
    data = os.urandom(MIB)
    handle = await store.open("large", os.O_CREAT | os.O_WRONLY)
    for offset in range(0, 24 * MIB, MIB):
        await handle.write(offset, data)
    while await handle.file.wait_for_part():
        pass
    journal, noted, go_on = store.journal, trio.Event(), trio.Event()
    update = journal.update

    async def slow_update(row: str, **columns: Any) -> None:
        if "parts" in columns:
            noted.set()
            await go_on.wait()
        await update(row, **columns)

    monkeypatch.setattr(journal, "update", slow_update)
    nursery.start_soon(handle.file.punch)
    await noted.wait()

    async def remove() -> None:
        await store.unlink("large")
        await handle.release()

    nursery.start_soon(remove)
    await trio.testing.wait_all_tasks_blocked(0.5)
    other = await store.open("other", os.O_CREAT | os.O_RDWR)
    for offset in range(0, 12 * MIB, MIB):
        await other.write(offset, data)
    assert other.file._copy is not None
    await other.file._copy.staged.sync()
    go_on.set()
    await trio.testing.wait_all_tasks_blocked(0.5)
    await other.flush()
    await other.release()
    assert await store.read("other") == 12 * data
    assert store.area.used == 0


async def test_a_file_that_is_being_cut_is_read_before_or_after(
    threaded: Store, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads take no lock, and find zeros where the bytes were that are cut off."""
    handle = await threaded.open("a", os.O_CREAT | os.O_RDWR)
    await handle.write(0, b"0123456789")
    assert handle.file._copy is not None
    await handle.file._copy.staged._forget_tail()
    goes_on, reading, cut = threading.Event(), threading.Event(), os.ftruncate

    found = []

    def slow_cut(file: int, size: int) -> None:
        cut(file, size)
        goes_on.wait(20)

    def slow_read(*arguments: Any) -> int:
        reading.wait(20)
        return int(read_at(*arguments))

    monkeypatch.setattr(os, "ftruncate", slow_cut)
    monkeypatch.setattr(staging, "read_at", slow_read)

    async def read() -> None:
        found.append(bytes(await handle.read(0, 4096)))

    nursery.start_soon(read)  # begun before
    await trio.testing.wait_all_tasks_blocked(0.05)
    nursery.start_soon(handle.file.truncate, 4)
    await trio.testing.wait_all_tasks_blocked(0.05)
    nursery.start_soon(read)
    reading.set()
    await trio.testing.wait_all_tasks_blocked(0.1)
    assert found == []
    goes_on.set()
    with trio.fail_after(5):
        while len(found) < 2:
            await trio.sleep(0.01)
    assert found == [b"0123"] * 2
    await handle.release()


async def test_the_servers_own_file_is_protected(store: Store) -> None:
    assert await _errno(store.open("metadata.json", os.O_CREAT)) == errno.EPERM
    await store.mkdir("sub")
    await store.write("sub/metadata.json", b"{}")
    assert await _errno(store.rename("sub/metadata.json", "metadata.json")) == errno.EPERM


async def test_a_set_time_goes_with_the_object(store: Store, other_user: MemoryClient) -> None:
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"x")
    await store.set_mtime("a", 1e9)
    await handle.flush()
    await handle.release()
    assert len(store.requests()) == 1
    assert (await store.entry("a")).mtime_ns == 10**18
    assert _mtime(other_user, store.prefix + "a") == "1000000000"


async def test_a_time_set_later_follows_behind(store: Store, other_user: MemoryClient) -> None:
    await store.write("a", b"x")
    await store.set_mtime("a", 1e9)
    assert len(store.requests()) == 1
    assert (await store.entry("a")).mtime_ns == 10**18
    await store.store.drain()
    assert _mtime(other_user, store.prefix + "a") == "1000000000"
    assert (await store.entry("a")).mtime_ns == 10**18
    assert await store.read("a") == b"x"


async def test_many_small_files_at_once(store: Store, other_user: MemoryClient) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(store.write, f"{number}", f"content {number}".encode())
    found = objects(other_user, store.prefix)
    assert found == {f"{number}": f"content {number}".encode() for number in range(50)}
    assert len(store.requests()) == 50


async def test_scratch_files_stay_local_until_renamed(
    store: Store, other_user: MemoryClient
) -> None:
    await store.write("a", b"old")
    await store.write("sedAbc123", b"new")
    assert await store.read("sedAbc123") == b"new"
    assert objects(other_user, store.prefix) == {"a": b"old"}
    await store.rename("sedAbc123", "a")
    assert objects(other_user, store.prefix) == {"a": b"new"}
    assert await store.names() == ["a"]
    await store.write(".a.swp", b"swap")
    await store.unlink(".a.swp")
    assert len(store.requests()) == 2
    assert await _leftovers(store) == []


def objects_etag(client: Any, key: str) -> str:
    return str(client.head_object(Bucket=BUCKET, Key=key)["ETag"])


async def _errno(awaitable: Any) -> int:
    with pytest.raises(FSError) as caught:
        await awaitable
    return caught.value.errno


def _mtime(client: Any, key: str) -> str:
    metadata: dict[str, str] = client.head_object(Bucket=BUCKET, Key=key)["Metadata"]
    return metadata["mtime"]


async def _leftovers(store: Store) -> list[object]:
    """Journal rows and staged files that are still there."""
    await store.journal.adopt()
    return [*await store.journal.rows(), *store.area.folder.iterdir()]
