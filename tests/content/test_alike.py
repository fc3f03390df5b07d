"""Files of a folder that are read alike: what is expected of the next, and what is fetched."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from provenafs.content.listing.index import ROOT_INO, Entry, Index, Listed
from provenafs.content.object_version import ObjectVersion
from provenafs.content.reading.alike import AlikeReads
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.object_reads import ObjectReads, ReadObjects
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.reader import Reader
from provenafs.content.reading.runs import Range
from provenafs.content.reading.sibling_ranges import MOST_AHEAD, SiblingRanges
from provenafs.guard import Background
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from tests.support.moto_bucket import BUCKET, credentials
from tests.support.traces import trace

KIB, MIB = 1024, 1024**2
_ROUND_TRIP_S = 0.03


def test_what_three_files_have_in_common_is_expected() -> None:
    alike = AlikeReads()
    for file in range(3):
        assert alike.expected(10 * MIB) == []
        alike.note(file, 10 * MIB, 0, 20 * KIB)
        alike.note(file, 10 * MIB, 5 * MIB, 5 * MIB + 300 * KIB)
        alike.note(file, 10 * MIB, file * MIB + 2 * MIB, file * MIB + 2 * MIB + 1)
    assert alike.expected(10 * MIB) == [(0, 64 * KIB), (5 * MIB, 5 * MIB + 320 * KIB)]
    assert alike.expected(20 * MIB) == []


def test_footers_are_counted_from_the_end() -> None:
    alike = AlikeReads()
    for file in range(3):
        size = 10 * MIB + file * 200_000
        alike.note(file, size, size - 10_000, size)
    size = 11 * MIB
    assert alike.expected(size) == [(size - 64 * KIB, size)]


def test_places_of_their_own_are_no_pattern() -> None:
    chance = random.Random(1)
    alike = AlikeReads()
    expected = 0
    for file in range(1000):
        place = chance.randrange(256 * MIB - 128 * KIB)
        alike.note(file, 256 * MIB, place, place + 128 * KIB)
        expected += sum(end - start for start, end in alike.expected(256 * MIB))
    assert expected <= 0.01 * 1000 * 128 * KIB


class _Counted(ObjectSource):
    """A source whose requests take a round trip."""

    fetched: list[tuple[str, Range]]

    async def fetch(self, start: int, end: int, *, retry: bool) -> memoryview:
        self.fetched.append((self.key, (start, end)))
        await trio.sleep(_ROUND_TRIP_S)
        return memoryview(bytes(end - start))


class _Folder:
    """A directory of larger files that are opened and read."""

    def __init__(self, nursery: trio.Nursery, sizes: list[int], memory: int = 80 * MIB) -> None:
        self.index = Index(None)
        self.budget = ReadAheadBudget(memory)
        self.fetched: list[tuple[str, Range]] = []
        self._background = Background(nursery)
        self._bucket = Bucket(BUCKET, credentials, S3Context("http://127.0.0.1:9", 1.0))
        self._objects = ReadObjects(lambda source, reads: None)
        self._directory = self.index.get_or_create(ROOT_INO, "data")
        stamp = self.index.begin_listing()
        page = [Listed(f"{n:04}.nc", size, f'"{n}"') for n, size in enumerate(sizes)]
        self.index.merge(stamp, self._directory.ino, page)
        self.index.end_listing(stamp)
        self.siblings = SiblingRanges(self.index, self._opened, self.budget, self._background)

    @property
    def files(self) -> list[Entry]:
        return self.index.children(self._directory.ino)

    @property
    def moved(self) -> int:
        return sum(end - start for _, (start, end) in self.fetched)

    def _opened(self, entry: Entry) -> tuple[ObjectSource, ObjectReads]:
        version = ObjectVersion(entry.name, entry.etag, entry.size)
        source = _Counted(self._bucket, version, lambda: None)
        source.fetched = self.fetched
        return source, self._objects.of(source)

    def open(self, entry: Entry) -> Reader:
        source, reads = self._opened(entry)
        self.siblings.open(entry, reads)
        return Reader(source, self.budget, self._background, reads=reads)

    async def read(self, entry: Entry, *ranges: Range) -> float:
        """Seconds to read ranges of a file, one after the other."""
        began = trio.current_time()
        reader = self.open(entry)
        for start, end in ranges:
            assert len(await reader.read(start, end - start)) == end - start
        await reader.close()
        return trio.current_time() - began


async def test_the_next_files_have_the_ranges_ready(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    size = 12 * MIB
    folder = _Folder(nursery, [size + n for n in range(60)])
    ranges = [(size - 20 * KIB, size), (4 * MIB, 4 * MIB + 200 * KIB), (9 * MIB, 9 * MIB + 99)]
    waited = sum([await folder.read(entry, *ranges) for entry in folder.files])
    assert waited <= (3 * len(ranges) + 2 * 60 / MOST_AHEAD) * _ROUND_TRIP_S
    assert folder.moved <= 1.2 * 60 * (128 + 320 + 128) * KIB
    await trio.sleep(20)
    assert folder.budget.used == 0


@pytest.mark.parametrize("name", ["duckdb_columns", "pyarrow_columns"])
async def test_columns_of_many_files(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, name: str
) -> None:
    reads = trace(name)
    folder = _Folder(nursery, [reads[0].size] * 40)
    files = dict(zip(sorted({read.file for read in reads}), folder.files, strict=False))
    handles: dict[int, Reader] = {}
    waits = 0
    for read in reads:
        handle = handles.get(read.handle)
        if handle is None:
            handle = handles[read.handle] = folder.open(files[read.file])
        began = trio.current_time()
        await handle.read(read.offset, read.length)
        waits += trio.current_time() > began
    assert waits <= 0.4 * len(reads)
    for handle in handles.values():
        await handle.close()
    await trio.sleep(20)
    assert folder.budget.used == 0


async def test_who_reads_each_file_at_a_place_of_its_own_is_left_alone(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    chance = random.Random(3)
    folder = _Folder(nursery, [256 * MIB] * 300)
    files = folder.files
    chance.shuffle(files)
    for entry in files:
        place = chance.randrange(2000) * 128 * KIB
        await folder.read(entry, (place, place + 128 * KIB))
    assert folder.moved <= 1.1 * 300 * 128 * KIB


async def test_headers_in_random_order_fetch_little_in_vain(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    chance = random.Random(3)
    folder = _Folder(nursery, [256 * MIB] * 1000)
    for entry in chance.sample(folder.files, 100):
        await folder.read(entry, (0, 64 * KIB))
    assert folder.moved <= 1.3 * 100 * 128 * KIB


async def test_little_memory_means_less_ahead(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = _Folder(nursery, [8 * MIB] * 30, memory=2 * MIB)
    for entry in folder.files:
        await folder.read(entry, (0, 300 * KIB), (4 * MIB, 5 * MIB))
        assert folder.budget.used <= 4 * MIB


async def test_a_file_replaced_since_is_not_taken_from_what_was_fetched(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    folder = _Folder(nursery, [12 * MIB] * 6)
    for entry in folder.files[:4]:
        await folder.read(entry, (4 * MIB, 4 * MIB + 99))
    await trio.sleep(1)
    replaced = folder.files[4]
    assert (replaced.name, (4 * MIB, 4 * MIB + 64 * KIB)) in folder.fetched
    folder.index.update(replaced.ino, etag='"replaced"')
    before = len(folder.fetched)
    changed = folder.index.get(replaced.ino)
    assert changed is not None
    assert await folder.read(changed, (4 * MIB, 4 * MIB + 99)) >= _ROUND_TRIP_S
    assert len(folder.fetched) > before
    await trio.sleep(20)
    assert folder.budget.used == 0
