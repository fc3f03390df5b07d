"""The index of a mount: what a full or damaged disk and a removed directory leave of it."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from provenafs.content.listing.index import ROOT_INO, Index, Kind, Listed
from provenafs.errors import FSError
from tests.support.memory_bucket import MemoryServer
from tests.support.store import open_store

PAGE = [Listed(f"{number:0200}", 1, f'"{number}"') for number in range(1000)]


def merge(index: Index, parent: int) -> None:
    stamp = index.begin_listing()
    index.merge(stamp, parent, PAGE)
    index.finish_listing(stamp, parent)
    index.end_listing(stamp)


def test_a_full_disk_moves_the_index_to_memory(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    first = index.get_or_create(ROOT_INO, "first", Kind.DIRECTORY)
    merge(index, first.ino)
    connection = index.database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    second = index.get_or_create(ROOT_INO, "second", Kind.DIRECTORY)
    merge(index, second.ino)
    for directory in (first, second):
        assert [entry.name for entry in index.children(directory.ino)] == [
            item.name for item in PAGE
        ]
    index.close()


@pytest.mark.expects_errors("is damaged, the next mount makes it anew")
@pytest.mark.parametrize("whole_pages", [2, 5, 60])
def test_a_damaged_index_is_made_anew(tmp_path: Path, whole_pages: int) -> None:
    path = tmp_path / "index.sqlite"
    with closing(Index(path)) as index:
        merge(index, index.get_or_create(ROOT_INO, "directory", Kind.DIRECTORY).ino)
    data = path.read_bytes()
    whole = whole_pages * 4096
    path.write_bytes(data[:whole] + bytes(len(data) - whole))
    with suppress(sqlite3.DatabaseError), closing(Index(path)) as index:
        directory = index.get_or_create(ROOT_INO, "directory", Kind.DIRECTORY)
        merge(index, directory.ino)
        assert len(index.children(directory.ino)) == len(PAGE)
    with closing(Index(path)) as index:  # at the latest
        directory = index.get_or_create(ROOT_INO, "directory", Kind.DIRECTORY)
        merge(index, directory.ino)
        assert len(index.children(directory.ino)) == len(PAGE)


def test_an_entry_that_a_listing_is_about_to_remove_is_not_taken_for_a_new_one() -> None:
    with closing(Index(None)) as index:
        merge(index, ROOT_INO)
        stamp, name = index.begin_listing(), PAGE[0].name
        index.merge(stamp, ROOT_INO, PAGE[1:])
        assert index.child(ROOT_INO, name, since=stamp) is None
        entry = index.create(ROOT_INO, name, Kind.OBJECT)
        index.finish_listing(stamp, ROOT_INO)
        index.end_listing(stamp)
        assert entry.etag is None
        assert index.child(ROOT_INO, name) == entry


def test_what_was_listed_of_a_removed_directory_goes(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.sqlite")) as index:
        gone = index.get_or_create(ROOT_INO, "gone", Kind.DIRECTORY)
        index.remove(gone.ino)
        below = index.get_or_create(gone.ino, "below", Kind.DIRECTORY)
        child = index.get_or_create(below.ino, "child", Kind.OBJECT)
        kept = index.get_or_create(ROOT_INO, "kept", Kind.OBJECT)
    with closing(Index(tmp_path / "index.sqlite")) as index:
        assert index.get(below.ino) is None
        assert index.get(child.ino) is None
        assert index.get(kept.ino) is not None


async def test_nothing_is_stored_below_a_directory_that_is_gone(
    server: MemoryServer, prefix: str, tmp_path: Path
) -> None:
    async with open_store(server, prefix, tmp_path) as store:
        await store.mkdir("gone")
        directory = await store.entry("gone")
        below = store.index.get_or_create(directory.ino, "below", Kind.DIRECTORY)
        store.index._execute("DELETE FROM entries WHERE ino = ?", (directory.ino,))
        with pytest.raises(FSError) as caught:
            await store.changes.create(store.volume, below, "file", 0)
        assert caught.value.errno == errno.ESTALE
