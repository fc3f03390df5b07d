"""Renames that others work beside: each of their requests is held while something else is done.

Whatever order the two are taken to have happened in, a local disk ends with the same tree.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.content.claims import Name
from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from tests.support.faultproxy import Request, is_delete
from tests.support.memory_bucket import Hold, MemoryServer, s3_failure
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import Store, objects, open_store

_IO_TIMEOUT_S = 5.0
# A LIST, a copy and a deletion each of a file and of the marker.
_REQUESTS = 5

Work = Callable[[Store, Entry], Awaitable[None]]


@pytest.fixture
async def store(faulty: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(faulty, prefix, tmp_path, io_timeout=_IO_TIMEOUT_S) as store:
        yield store


# What is done in a directory, known by its inode as the kernel knows it.


async def _create(store: Store, directory: Entry) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    _, handle = await store.changes.create(store.volume, directory, "new", flags)
    await handle.write(0, b"new")
    await handle.flush()
    await handle.release()


async def _append(store: Store, directory: Entry) -> None:
    entry = await store.drive.lookup(directory, "a")
    assert entry is not None
    handle = await store.changes.open(store.volume, entry, os.O_WRONLY | os.O_APPEND)
    await handle.write(handle.file.size, b"+")
    await handle.flush()
    await handle.release()


async def _unlink(store: Store, directory: Entry) -> None:
    await store.changes.unlink(store.volume, directory, "a")


async def _mkdir(store: Store, directory: Entry) -> None:
    entry = await store.changes.mkdir(store.volume, directory, "sub")
    await _create(store, entry)


async def _truncate(store: Store, directory: Entry) -> None:
    entry = await store.drive.lookup(directory, "a")
    assert entry is not None
    await store.changes.truncate(store.volume, entry, 0)


async def _move_out(store: Store, directory: Entry) -> None:
    old, new = Name(directory, "a"), Name(store.top, "out")
    await store.changes.rename(store.volume, old, new, replace=True)


async def _move_in(store: Store, directory: Entry) -> None:
    await store.write("in", b"in")
    old, new = Name(store.top, "in"), Name(directory, "a")
    await store.changes.rename(store.volume, old, new, replace=True)


async def _read(store: Store, directory: Entry) -> None:
    entry = await store.drive.lookup(directory, "a")
    assert entry is not None
    handle = await store.changes.open(store.volume, entry, os.O_RDONLY)
    assert await handle.read(0, 9) == b"a"
    await trio.sleep(0.1)
    assert await handle.read(0, 9) == b"a"
    await handle.release()


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (_create, {"e/a": b"a", "e/new": b"new"}),
        (_append, {"e/a": b"a+"}),
        (_unlink, {}),
        (_mkdir, {"e/a": b"a", "e/sub/": b"", "e/sub/new": b"new"}),
        (_truncate, {"e/a": b""}),
        (_move_out, {"out": b"a"}),
        (_move_in, {"e/a": b"in"}),
        (_read, {"e/a": b"a"}),
    ],
)
async def test_work_below_a_directory_goes_with_it(
    store: Store,
    faulty: MemoryServer,
    other_user: MemoryClient,
    work: Work,
    expected: dict[str, bytes],
) -> None:
    for held in range(1, _REQUESTS + 1):
        await store.mkdir("d")
        await store.write("d/a", b"a")
        await _while_renamed(store, faulty, work, held)
        await store.store.drain()
        assert objects(other_user, store.prefix) == {"e/": b"", **expected}, held
        for name in await _walk(store):
            await (store.rmdir(name[:-1]) if name.endswith("/") else store.unlink(name))
        await store.store.drain()
        assert await store.journal.intents() == []
        assert objects(other_user, store.prefix) == {}
    assert store.failures == []


@pytest.mark.parametrize("writeback", [False, True])
async def test_what_is_open_below_a_directory_goes_with_it(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient, writeback: bool
) -> None:
    async with open_store(faulty, prefix, tmp_path, writeback=writeback) as store:
        for held in range(1, _REQUESTS + 1):
            await store.mkdir("d")
            await store.write("d/a", b"a")
            await store.store.drain()
            changed = await store.open("d/a", os.O_WRONLY)
            made = await store.open("d/new", os.O_CREAT | os.O_WRONLY)

            async def work(store: Store, directory: Entry, handles: Any = (changed, made)) -> None:
                for handle in handles:
                    await handle.write(0, b"new")
                    await handle.flush()
                    await handle.release()

            await _while_renamed(store, faulty, work, held)
            await store.store.drain()
            assert objects(other_user, prefix) == {"e/": b"", "e/a": b"new", "e/new": b"new"}, held
            for name in ("e/a", "e/new"):
                await store.unlink(name)
            await store.rmdir("e")
        assert store.failures == []


async def _while_renamed(store: Store, faulty: MemoryServer, work: Work, held: int) -> None:
    """Rename d to e; do the work once the rename has come to a request of that number."""
    directory, hold = await store.entry("d"), Hold()
    faulty.fail(_number(held), hold, times=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.rename, "d", "e")
            while not hold.reached.is_set():
                await trio.sleep(0.005)
            nursery.start_soon(work, store, directory)
            await trio.sleep(0.05)
            hold.go_on.set()
    faulty.heal()


def _number(wanted: int) -> Callable[[Request], bool]:
    """Matches the request of that number from here on."""
    count = 0

    def matches(request: Request) -> bool:
        nonlocal count
        count += 1
        return count == wanted

    return matches


async def _walk(store: Store, folder: str = "") -> list[str]:
    """All names, what is in a directory before it."""
    found = []
    for name in await store.names(folder):
        path = f"{folder}{name}"
        if (await store.entry(path)).kind == 1:
            found += [*await _walk(store, f"{path}/"), f"{path}/"]
        else:
            found.append(path)
    return found


async def test_directories_that_change_places_end_somewhere(
    store: Store, other_user: MemoryClient
) -> None:
    for name in ("a", "b", "p", "p/q"):
        await store.mkdir(name)
        await store.write(f"{name}/f", name.encode())
    answers: list[int] = []

    async def rename(old: str, new: str) -> None:
        answers.append(await _errno(store.rename(old, new)))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rename, "a", "b/x")
            nursery.start_soon(rename, "b", "a/x")
            nursery.start_soon(rename, "p/q", "p/r")
            nursery.start_soon(rename, "p", "z")
            nursery.start_soon(rename, "p/q", "p/q/s")
    assert sorted(answers)[:3] == [0, 0, 0]
    files = {key: body for key, body in objects(other_user, store.prefix).items() if key[-1] != "/"}
    assert sorted(files.values()) == [b"a", b"b", b"p", b"p/q"]
    assert sorted(files) in (["b/f", "b/x/f", "z/f", "z/r/f"], ["a/f", "a/x/f", "z/f", "z/r/f"])
    assert [name for name in await _walk(store) if name[-1] != "/"] == sorted(files)


async def test_a_directory_is_renamed_while_its_files_are_removed(
    store: Store, other_user: MemoryClient
) -> None:
    await store.mkdir("d")
    for number in range(12):
        other_user.put_object(Bucket=BUCKET, Key=f"{store.prefix}d/{number:02}", Body=b"x")
    store.index.expire((await store.entry("d")).ino)
    directory = await store.entry("d")

    async def remove() -> None:
        for number in range(12):
            await store.changes.unlink(store.volume, directory, f"{number:02}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove)
        await trio.sleep(0.05)
        await store.rename("d", "e")
    await store.store.drain()
    assert objects(other_user, store.prefix) == {"e/": b""}


async def test_a_listing_of_the_old_names_hides_nothing(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await store.mkdir("d")
    await store.write("d/a", b"a")
    directory, hold = await store.entry("d"), Hold()
    store.index.expire(directory.ino)
    faulty.fail(lambda request: request.is_list, hold, times=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.drive.refresh, directory)
        while not hold.reached.is_set():
            await trio.sleep(0.005)
        await store.rename("d", "e")
        hold.go_on.set()
    assert await store.names("e") == ["a"]


async def test_a_key_that_would_be_too_long_is_refused_before_anything_is_copied(
    store: Store, other_user: MemoryClient
) -> None:
    deep = "/".join(["n" * 200] * 4)
    for name in ("stored", "staged"):
        path = name
        await store.mkdir(path)
        for part in deep.split("/"):
            path = f"{path}/{part}"
            await store.mkdir(path)
    await store.write(f"stored/{deep}/a", b"a")
    handle = await store.open(f"staged/{deep}/a", os.O_CREAT | os.O_WRONLY)
    other_user.delete_object(Bucket=BUCKET, Key=f"{store.prefix}staged/{deep}/")
    before = len(store.requests())
    for name in ("stored", "staged"):
        assert await _errno(store.rename(name, "m" * 200)) == errno.ENAMETOOLONG
    assert len(store.requests()) == before
    await handle.release()
    assert await store.read(f"staged/{deep}/a") == b""


async def test_a_directory_that_cannot_be_renamed_leaves_its_target(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    for number in range(3):
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}d/{number}", Body=b"")
    async with open_store(server, prefix, tmp_path, rename_limit=2) as store:
        await store.mkdir("e")
        assert await _errno(store.rename("d", "e")) == errno.EXDEV
        assert await store.names() == ["d", "e"]
    assert "e/" in objects(other_user, prefix)


# Where S3 refuses


@pytest.mark.parametrize("name", ["f", "d"])
async def test_a_rename_whose_original_may_not_be_removed_is_undone(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, name: str
) -> None:
    await store.write("f", b"f")
    await store.mkdir("d")
    await store.write("d/a", b"a")
    before = objects(other_user, store.prefix)
    handle = await store.open(name if name == "f" else "d/a", os.O_RDONLY)
    entry = await store.entry(name)
    refuse_removal(faulty, f"{store.prefix}{name}")
    assert await _errno(store.rename(name, "new")) == errno.EACCES
    faulty.heal()
    assert objects(other_user, store.prefix) == before
    assert await store.names() == ["d", "f"]
    assert (await store.entry(name)).ino == entry.ino
    assert await handle.read(0, 9) == (b"f" if name == "f" else b"a")
    await handle.release()
    assert await store.journal.intents() == []
    await store.rename(name, "new")
    assert await store.names() == sorted({"d", "f", "new"} - {name})


async def test_a_replaced_file_is_said_to_be_replaced(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await store.write("f", b"f")
    await store.write("g", b"g")
    refuse_removal(faulty, f"{store.prefix}f")
    with pytest.raises(FSError, match=r"g is complete, but .*f could not be removed"):
        await store.rename("f", "g")
    faulty.heal()
    assert objects(other_user, store.prefix) == {"f": b"f", "g": b"f"}
    assert await store.names() == ["f", "g"]
    assert await store.read("f") == await store.read("g") == b"f"


async def test_an_original_whose_removal_is_not_answered_is_removed_later(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    faulty = MemoryServer(server.client)
    async with open_store(faulty, prefix, tmp_path, io_timeout=1.0) as store:
        await store.mkdir("d")
        for name in ("f", "d/a"):
            await store.write(name, b"x")
        faulty.fail(is_delete, s3_failure("503 x", "SlowDown"))
        with trio.fail_after(20):
            await store.rename("f", "g")
            await store.rename("d", "e")
        assert await store.names() == ["e", "g"]
        faulty.heal()
        await store.store.drain()
        assert objects(other_user, prefix) == {"g": b"x", "e/": b"", "e/a": b"x"}
        assert await store.journal.intents() == []


def refuse_removal(faulty: MemoryServer, key: str) -> None:
    """Let S3 refuse every deletion at or below a key."""

    def matches(request: Request) -> bool:
        return is_delete(request) and request.path.startswith(f"/{BUCKET}/{key}")

    faulty.fail(matches, s3_failure("403 Forbidden", "AccessDenied"))


async def _errno(awaitable: Awaitable[None]) -> int:
    try:
        await awaitable
    except FSError as error:
        return error.errno
    return 0
