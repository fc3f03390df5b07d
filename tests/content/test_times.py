"""When files and directories say that they changed, whoever changed them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.content.journal import Journal
from provenafs.content.journal_schema import Action, State
from provenafs.content.listing.index import (
    ROOT_INO,
    Entry,
    Index,
    Invalidation,
    Kind,
    Listed,
)
from provenafs.s3.types import nanoseconds
from provenafs.s3.writing import ObjectWriter
from tests.support.faultproxy import Request
from tests.support.memory_bucket import MemoryServer, s3_failure
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import Store, open_store

THEN = 981173106_123456789
STORED = 1700000000_000000000


@pytest.fixture
async def store(server: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(server, prefix, tmp_path) as store:
        yield store


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index.sqlite")


def show(index: Index, directory: int, *page: Listed) -> list[Invalidation]:
    """A LIST shows this and no more."""
    stamp = index.begin_listing()
    changes = index.merge(stamp, directory, page) + index.finish_listing(stamp, directory)
    index.end_listing(stamp)
    return changes


def times(index: Index, ino: int) -> tuple[int, int]:
    entry = index.get(ino)
    assert entry is not None
    return entry.shown_mtime_ns, entry.shown_ctime_ns


def only(index: Index, directory: int) -> Entry:
    (entry,) = index.children(directory)
    return entry


async def relist(store: Store) -> None:
    store.index.expire(store.top.ino)
    await store.names()


# Files


async def test_a_change_whose_time_is_set_back_shows_in_the_ctime(store: Store) -> None:
    await store.write("f", b"one")
    entry = await store.entry("f")
    await store.files.set_attributes(store.volume, entry, THEN, None)
    before = await store.entry("f")
    assert before.shown_mtime_ns == THEN
    assert before.shown_ctime_ns > entry.shown_ctime_ns
    handle = await store.open("f")
    await handle.write(0, b"X")
    await handle.flush()
    await store.files.set_attributes(store.volume, before, THEN, None)
    await handle.release()
    after = await store.entry("f")
    assert after.shown_mtime_ns == THEN
    assert after.shown_ctime_ns > before.shown_ctime_ns
    await store.attribute_updates.flush()  # what is done behind is no further change
    await relist(store)
    again = await store.entry("f")
    assert (again.ino, again.shown_mtime_ns) == (after.ino, THEN)
    assert again.shown_ctime_ns == after.shown_ctime_ns


async def test_storing_what_was_written_is_no_further_change(store: Store) -> None:
    handle = await store.open("f", 0o101)
    await handle.write(0, b"x")
    written = await store.entry("f")
    await handle.flush()
    await handle.release()
    await relist(store)
    assert times(store.index, written.ino) == (
        written.shown_mtime_ns,
        written.shown_ctime_ns,
    )


async def test_a_rename_changes_the_ctime_only(store: Store) -> None:
    await store.write("f", b"x")
    await store.mkdir("d")
    await store.write("d/g", b"y")
    before = {name: await store.entry(name) for name in ("f", "d/g")}
    await store.rename("f", "h")
    moved = await store.entry("h")
    assert moved.shown_mtime_ns == before["f"].shown_mtime_ns
    assert moved.shown_ctime_ns > before["f"].shown_ctime_ns
    await store.rename("d", "e")
    assert (await store.entry("e/g")).shown_mtime_ns == before["d/g"].shown_mtime_ns


@pytest.mark.parametrize("year", [1, 1677, 1969, 9999])
def test_whatever_time_a_list_tells_can_be_kept(index: Index, year: int) -> None:
    directory = index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).ino
    told = nanoseconds(datetime(year, 1, 1, tzinfo=UTC))
    show(index, directory, Listed("f", 1, '"1"', told))
    assert only(index, directory).shown_mtime_ns == told


def test_what_others_stored_keeps_its_time_through_a_rename(index: Index) -> None:
    directory = index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).ino
    below = index.get_or_create(directory, "below", Kind.DIRECTORY).ino
    show(index, below, Listed("f", 1, '"1"', STORED))
    index.move(below, directory, "moved")
    show(index, below, Listed("f", 1, '"1"', STORED + 10**9))  # the copies are younger
    assert only(index, below).shown_mtime_ns == STORED


def test_equal_bytes_that_were_stored_again_are_a_change(index: Index) -> None:
    directory = index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).ino
    show(index, directory, Listed("f", 1, '"1"', STORED))
    ino = only(index, directory).ino
    index.update(ino, modified_ns=0, mtime_ns=THEN, ctime_ns=THEN + 1, mode=0o700)
    show(index, directory, Listed("f", 1, '"1"', STORED + 1))  # our own storing
    show(index, directory, Listed("f", 1, '"1"', STORED + 1))
    assert times(index, ino) == (THEN, THEN + 1)
    assert only(index, directory).mode == 0o700
    show(index, directory, Listed("f", 1, '"1"', STORED + 2))
    assert times(index, ino) == (STORED + 2, STORED + 2)
    assert only(index, directory).mode is None


async def test_a_list_that_shows_our_own_copy_is_not_taken_for_anothers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write("f", b"x")
    await relist(store)
    await store.files.set_attributes(store.volume, await store.entry("f"), THEN, 0o700)
    before = await store.entry("f")
    copy = ObjectWriter.copy

    async def copy_and_list(self: ObjectWriter, *arguments: Any, **options: Any) -> str:
        etag = await copy(self, *arguments, **options)
        show(store.index, store.top.ino, Listed("f", 1, etag, before.modified_ns + 5 * 10**9))
        assert (await store.entry("f")).mode is None
        return etag

    monkeypatch.setattr(ObjectWriter, "copy", copy_and_list)
    await store.attribute_updates.flush()
    after = await store.entry("f")
    assert after.ino == before.ino
    assert (after.shown_mtime_ns, after.shown_ctime_ns) == (THEN, before.shown_ctime_ns)
    assert after.mode == 0o700


async def test_what_is_set_during_a_copy_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write("f", b"x")
    await store.files.set_attributes(store.volume, await store.entry("f"), THEN, 0o700)
    copy = ObjectWriter.copy

    async def set_and_copy(self: ObjectWriter, *arguments: Any, **options: Any) -> str:
        monkeypatch.setattr(ObjectWriter, "copy", copy)
        file = store.files.known((await store.entry("f")).ino)
        assert file is not None
        file.set_attributes(THEN + 1, 0o711)
        return await copy(self, *arguments, **options)

    monkeypatch.setattr(ObjectWriter, "copy", set_and_copy)
    await store.attribute_updates.flush()
    entry = await store.entry("f")
    assert (entry.shown_mtime_ns, entry.mode) == (THEN + 1, 0o711)
    await store.attribute_updates.flush()
    assert (await store.entry("f")).shown_mtime_ns == THEN + 1


@pytest.mark.parametrize("time_ns", [-1, -5 * 10**17, 253402300799_999999999])
async def test_times_long_ago_and_far_ahead(
    server: MemoryServer, prefix: str, tmp_path: Path, time_ns: int
) -> None:
    async with open_store(server, prefix, tmp_path / "one") as store:
        await store.write("f", b"x")
        entry = await store.entry("f")
        await store.files.set_attributes(store.volume, entry, time_ns, None)
        assert (await store.entry("f")).shown_mtime_ns == time_ns
        await store.store.drain()
        assert (await store.entry("f")).shown_mtime_ns == time_ns
    async with open_store(server, prefix, tmp_path / "two", asks_objects=True) as store:
        await learned(store, "f")
        assert (await store.entry("f")).shown_mtime_ns == time_ns


# Directories


def test_a_directory_changes_when_a_list_shows_that_others_changed_it(index: Index) -> None:
    parent = index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).ino
    show(index, parent, Listed("below"))
    directory = only(index, parent).ino
    first = times(index, directory)
    changes = show(index, directory, Listed("a", 1, '"1"', STORED), Listed("b", 1, '"1"', STORED))
    assert changes == []
    assert times(index, directory) == first  # the first LIST tells nothing of a change
    show(index, parent, Listed("below"))
    show(index, directory, Listed("a", 1, '"1"', STORED), Listed("b", 1, '"1"', STORED))
    assert times(index, directory) == first

    def moves(*page: Listed) -> bool:
        before = times(index, directory)
        changes = show(index, directory, *page)
        assert (Invalidation(0, "", directory) in changes) == (times(index, directory) != before)
        return times(index, directory)[0] > before[0] and times(index, directory)[1] > before[1]

    a, b = Listed("a", 1, '"1"', STORED), Listed("b", 1, '"1"', STORED)
    assert moves(a, b, Listed("c"))
    assert not moves(a, b, Listed("c"))
    assert moves(a, b)
    assert moves(a, Listed("b", 1, '"2"', STORED))


@pytest.mark.parametrize(
    "change",
    [
        lambda index, directory: index.get_or_create(directory, "new", Kind.OBJECT),
        lambda index, directory: index.get_or_create(directory, "new", Kind.DIRECTORY),
        lambda index, directory: index.remove(only(index, directory).ino),
        lambda index, directory: index.move(only(index, directory).ino, directory, "new"),
        lambda index, directory: index.move(only(index, directory).ino, ROOT_INO, "new"),
    ],
)
def test_a_directory_changes_at_once_with_our_own_changes(
    index: Index, change: Callable[[Index, int], object]
) -> None:
    directory = index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).ino
    show(index, directory, Listed("a", 1, '"1"', STORED))
    before = times(index, directory)
    change(index, directory)
    mtime_ns, ctime_ns = times(index, directory)
    assert mtime_ns > before[0]
    assert ctime_ns > before[1]


def test_a_directorys_time_is_kept_over_a_remount(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.sqlite")) as index:
        directory = index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).ino
        show(index, directory, Listed("below"))
        before = times(index, directory), times(index, only(index, directory).ino)
    with closing(Index(tmp_path / "index.sqlite")) as index:
        show(index, directory, Listed("below"))
        assert (times(index, directory), times(index, only(index, directory).ino)) == before


def test_an_index_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entries (ino INTEGER PRIMARY KEY, mtime REAL)")
        connection.execute("PRAGMA user_version = 1")
    with closing(Index(path)) as index:
        assert index.get_or_create(ROOT_INO, "d", Kind.DIRECTORY).name == "d"


# What the objects say, with --mtime=object


async def learned(store: Store, *names: str) -> bool:
    assert store.drive.attributes is not None
    return await store.drive.attributes.learn([await store.entry(name) for name in names])


def is_head(request: Request) -> bool:
    return request.method == "HEAD" and request.path.count("/") > 2


async def test_objects_tell_their_times_and_modes_once(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    for number in range(50):
        metadata = {"mtime": f"{number}.000000001", "mode": "33261"}
        other_user.put_object(
            Bucket=BUCKET, Key=f"{prefix}{number:02}", Body=b"x", Metadata=metadata
        )
    other_user.put_object(Bucket=BUCKET, Key=f"{prefix}plain", Body=b"x")
    names = [f"{number:02}" for number in range(50)]
    async with open_store(faulty, prefix, tmp_path, asks_objects=True) as store:
        attributes = store.drive.attributes
        assert attributes is not None
        assert (await attributes.learn_here(await store.entry("05"))).mtime_ns == 5 * 10**9 + 1
        assert sum(map(is_head, faulty.requests)) == 32  # those that follow come with it
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(partial(learned, store, *names, "plain"))
        assert sum(map(is_head, faulty.requests)) == 51
        for number, name in enumerate(names):
            entry = await store.entry(name)
            assert (entry.shown_mtime_ns, entry.mode) == (number * 10**9 + 1, 0o755)
        plain = await store.entry("plain")
        assert (plain.shown_mtime_ns, plain.mode) == (plain.modified_ns, None)
    async with open_store(faulty, prefix, tmp_path, asks_objects=True) as store:
        assert not await learned(store, *names, "plain")
    assert sum(map(is_head, faulty.requests)) == 51


async def test_an_object_that_tells_nothing_shows_when_it_was_stored(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    key = prefix + "f"
    other_user.put_object(Bucket=BUCKET, Key=key, Body=b"x", Metadata={"mtime": "1"})
    async with open_store(faulty, prefix, tmp_path, asks_objects=True) as store:
        faulty.fail(is_head, s3_failure("403 Forbidden", "AccessDenied"), times=2)
        assert await learned(store, "f")
        entry = await store.entry("f")
        assert entry.shown_mtime_ns == entry.modified_ns
        other_user.put_object(Bucket=BUCKET, Key=key, Body=b"y", Metadata={"mtime": "2"})
        assert await learned(store, "f")  # that is another one than the LIST has shown
        assert (await store.entry("f")).mtime_ns is None
        await relist(store)
        assert await learned(store, "f")
        assert (await store.entry("f")).mtime_ns == 2 * 10**9


# The journal


async def test_a_journal_of_an_earlier_version_is_brought_up(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        connection.executescript(
            """
            CREATE TABLE staged (id TEXT PRIMARY KEY, owner TEXT NOT NULL, state TEXT NOT NULL,
                dataset TEXT NOT NULL, key TEXT NOT NULL, base_etag TEXT,
                base_size INTEGER NOT NULL, size INTEGER NOT NULL, mtime REAL,
                write_id TEXT NOT NULL, upload_id TEXT, parts TEXT NOT NULL, reason TEXT NOT NULL,
                changed_at REAL NOT NULL);
            CREATE TABLE intents (id TEXT PRIMARY KEY, owner TEXT NOT NULL, action TEXT NOT NULL,
                dataset TEXT NOT NULL, key TEXT NOT NULL, target TEXT NOT NULL, etag TEXT,
                mtime REAL, changed_at REAL NOT NULL);
            INSERT INTO staged VALUES ('a', 'gone', 'closed', 'd', 'k', '"e"', 5, 6, 12.5, 'w',
                'u', '[[1, 0, 5, "p", null]]', 'why', 7.0);
            INSERT INTO staged VALUES ('b', 'gone', 'open', 'd', 'k', NULL, 0, 0, NULL, 'w', NULL,
                '[]', '', 8.0);
            INSERT INTO intents VALUES ('c', 'gone', 'touch', 'd', 'k', '', '"e"', 1e9, 9.0);
            INSERT INTO intents VALUES ('r', 'gone', 'rename', 'd', 'a/', 'b/', NULL, NULL, 10.0);
            PRAGMA user_version = 1;
            """
        )
    for _ in range(2):
        journal = Journal(folder)
        rows = await journal.adopt()
        intent, rename = await journal.intents()
        assert [row.id for row in rows] == ["a", "b"]
        first = replace(rows[0], owner="")
        assert (first.state, first.base_size, first.size) == (State.CLOSED, 5, 6)
        assert (first.mtime_ns, first.mode, first.replaces) == (12_500000000, None, False)
        assert (first.parts, first.reason, first.changed_at) == (
            ((1, 0, 5, "p", None),), "why", 7.0
        )  # fmt: skip
        assert rows[1].mtime_ns is None
        assert (intent.action, intent.mtime_ns, intent.etag) == (Action.TOUCH, 10**18, '"e"')
        assert (rename.action, rename.target, rename.moves) == (Action.RENAME, "b/", None)
        await journal.close()
