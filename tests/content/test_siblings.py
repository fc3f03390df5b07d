"""Directory read-ahead: what is fetched before it is opened, and what is not."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from provenafs.content.listing.index import ROOT_INO, Entry, Index, Listed
from provenafs.content.object_version import ObjectVersion
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.directory_prefetch import MOST_AHEAD, DirectoryPrefetch
from provenafs.content.reading.fetched_range import FetchedRange
from provenafs.content.reading.object_source import ObjectSource
from provenafs.guard import Background
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from tests.support.moto_bucket import BUCKET, credentials

COUNT = 300


class Fetches(ObjectSource):
    """A source whose requests are counted and take 30 ms."""

    fetched: list[str]

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        self.fetched.append(self.key)
        await trio.sleep(0.03)
        return memoryview(bytes(end - start))


class Folder:
    """A directory of small files being read through its siblings."""

    def __init__(self, nursery: trio.Nursery, size: int = 4096, memory: int = 64 << 20) -> None:
        self.index = Index(None)
        self.budget = ReadAheadBudget(memory)
        self.fetched: list[str] = []
        self.directory = self.index.get_or_create(ROOT_INO, "data")
        self.list_files(self.directory, size)
        self._bucket = Bucket(BUCKET, credentials, S3Context("http://127.0.0.1:9", 1.0))
        self.siblings = DirectoryPrefetch(
            self.index, self._source, self.budget, Background(nursery)
        )
        self.files = self.index.children(self.directory.ino)

    def list_files(self, directory: Entry, size: int) -> None:
        stamp = self.index.begin_listing()
        page = [Listed(f"{number:04}", size, f'"{number}"') for number in range(COUNT)]
        self.index.merge(stamp, directory.ino, page)
        self.index.end_listing(stamp)

    def _source(self, entry: Entry) -> ObjectSource:
        source = Fetches(
            self._bucket, ObjectVersion(entry.name, entry.etag, entry.size), lambda: None
        )
        source.fetched = self.fetched
        return source

    async def read(self, entry: Entry) -> FetchedRange | None:
        """Read a file as a reader would; None when it was not fetched ahead."""
        block = self.siblings.first_read(entry)
        if block is None:
            await trio.sleep(0.03)
            return None
        await block.done.wait()
        block.drop()
        return block


async def test_nothing_is_fetched_for_one_or_two(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = Folder(nursery)
    for entry in (folder.files[0], folder.files[0], folder.files[1]):
        await folder.read(entry)
    await trio.sleep(5)
    await folder.read(folder.files[2])
    assert folder.fetched == []


@pytest.mark.parametrize("shuffled", [1, 8, 20])
async def test_a_walk_finds_its_files_fetched(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, shuffled: int
) -> None:
    folder = Folder(nursery)
    draw = random.Random(shuffled)
    files = folder.files
    order = []
    for start in range(0, len(files), shuffled):
        some = files[start : start + shuffled]
        draw.shuffle(some)
        order += some
    began = trio.current_time()
    hits = sum([await folder.read(entry) is not None for entry in order])
    assert hits >= COUNT - 5 - shuffled
    assert trio.current_time() - began < COUNT * 0.03 / 10 + 0.03 * (5 + shuffled)
    assert len(folder.fetched) == len(set(folder.fetched)) <= COUNT


async def test_what_is_not_opened_is_bounded_and_dropped(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = Folder(nursery, size=400_000)
    for entry in folder.files[:20]:
        await folder.read(entry)
    assert len(folder.fetched) <= 20 + MOST_AHEAD
    assert 0 < folder.budget.used <= 25 << 20
    await trio.sleep(15)
    assert folder.budget.used == 0


async def test_a_reader_who_goes_another_way_is_left_alone(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = Folder(nursery)
    for entry in reversed(folder.files):
        await folder.read(entry)
    assert len(folder.fetched) <= MOST_AHEAD


async def test_little_memory_means_less_ahead(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = Folder(nursery, memory=5 * 4096)
    for entry in folder.files[:50]:
        await folder.read(entry)
        assert folder.budget.used <= 5 * 4096


async def test_the_next_directory_of_a_walk_is_fetched_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = Folder(nursery)
    for entry in folder.files:
        await folder.read(entry)
    following = folder.index.get_or_create(folder.directory.ino, "next")
    folder.list_files(following, 4096)
    files = folder.index.children(following.ino)
    assert [await folder.read(entry) is not None for entry in files[:3]] == [False, True, True]


async def test_a_file_replaced_since_is_not_taken_from_what_was_fetched(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = Folder(nursery)
    for entry in folder.files[:4]:
        await folder.read(entry)
    folder.index.update(folder.files[5].ino, etag='"changed"')
    changed = folder.index.get(folder.files[5].ino)
    assert changed is not None
    assert await folder.read(changed) is None
    assert await folder.read(folder.files[6]) is not None
