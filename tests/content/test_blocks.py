"""The block cache on disk: what survives, what is noticed, what is given up."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from provenafs.content.cache.block_cache import BlockCache, object_id
from provenafs.content.cache.segment import GRANULE, SEGMENT
from provenafs.lib.buffers import Buffers

MIB = 1024**2
NAME = object_id("bucket", "key", '"etag"')
BODY = random.Random(9).randbytes(2 * SEGMENT + 3 * GRANULE + 17)


@contextmanager
def cache(folder: Path, limit: int = 1024 * MIB, min_free: int = 0) -> Iterator[BlockCache]:
    """A mount's cache."""
    made = BlockCache(folder, Buffers(), limit, min_free)
    try:
        yield made
    finally:
        made.close()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "blocks").rglob("*") if path.is_file())


async def holds(made: BlockCache, start: int = 0, end: int = len(BODY)) -> bool:
    """Whether a range is there; if so, its bytes are the right ones."""
    data = await made.read(NAME, start, end)
    assert data is None or data == BODY[start:end]
    return data is not None


@pytest.mark.parametrize("size", [73, GRANULE + 73])
async def test_less_than_was_asked_for_is_not_there(tmp_path: Path, size: int) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY)[:size])
        assert await holds(made, 0, size)
        assert not await holds(made, 0, size + 1000)


async def test_what_was_kept_is_there_after_a_remount(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 5 * GRANULE, memoryview(BODY)[5 * GRANULE : 8 * GRANULE])
        assert await holds(made, 6 * GRANULE, 8 * GRANULE)
        assert not await holds(made, 4 * GRANULE, 8 * GRANULE)
        assert made.cached_bytes(NAME) == 3 * GRANULE
        await made.store(NAME, 0, memoryview(BODY))
        assert made.cached_bytes(NAME) == len(BODY)
    with cache(tmp_path) as made:
        assert await holds(made)
        assert await made.read(object_id("bucket", "key", '"other"'), 0, GRANULE) is None


async def test_nobody_else_may_look(tmp_path: Path) -> None:
    with cache(tmp_path / "cache") as made:
        await made.store(NAME, 0, memoryview(BODY))
        for path in [*files(tmp_path / "cache"), *(tmp_path / "cache").glob("blocks.sqlite*")]:
            assert path.stat().st_mode & 0o077 == 0
        assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "empty"])
async def test_damage_is_noticed_and_healed(tmp_path: Path, damage: str) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
    victim = files(tmp_path)[1]
    data = bytearray(victim.read_bytes())
    match damage:
        case "flip":
            data[GRANULE + 5] ^= 1
            victim.write_bytes(data)
        case "cut":
            victim.write_bytes(data[: len(data) // 2])
        case "empty":
            victim.write_bytes(bytes(len(data)))
        case "delete":
            victim.unlink()
    with cache(tmp_path) as made:
        assert not await holds(made)
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)


def open_below(folder: Path) -> list[str]:
    """The files below a folder that this process has open, deleted ones too."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(folder / "blocks") + "/")]


def knows_nowait(folder: Path) -> bool:
    """Whether the file system answers at once what its page cache has (not each does)."""
    path = folder / "probe"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except OSError:
            return False


async def test_what_the_page_cache_has_needs_no_thread(tmp_path: Path) -> None:
    if not knows_nowait(tmp_path):
        pytest.skip("this file system always waits")
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert made.read_now(NAME, 0, 10) is None  # not open yet, and not verified
        for start in range(0, len(BODY), GRANULE):
            await made.read(NAME, start, min(start + GRANULE, len(BODY)))
        draw = random.Random(3)
        places = [draw.randrange(len(BODY)) for _ in range(50)]
        for start in [*places, SEGMENT - 100, 2 * SEGMENT - 1, len(BODY) - 3]:
            end = min(start + draw.randrange(1, 2 * GRANULE), len(BODY))
            with trio.testing.assert_no_checkpoints():
                assert made.read_now(NAME, start, end) == BODY[start:end]
        assert made.read_now(NAME, len(BODY) - 3, len(BODY) + 3) is None
        assert made.read_now(object_id("bucket", "other", ""), 0, 10) is None


async def test_only_what_is_present_is_read_from_an_open_segment(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 2 * GRANULE, memoryview(BODY)[2 * GRANULE : 4 * GRANULE])
        assert await holds(made, 2 * GRANULE, 4 * GRANULE)
        for start in (0, GRANULE, 4 * GRANULE, 2 * GRANULE - 1, 4 * GRANULE - 1):
            assert made.read_now(NAME, start, start + 2) is None
        assert not await holds(made, 0, 2 * GRANULE)
        await made.store(NAME, 0, memoryview(BODY)[: 2 * GRANULE])
        assert await holds(made, 0, 4 * GRANULE)


@pytest.mark.parametrize("damage", ["flip", "cut"])
async def test_damage_between_two_reads_is_noticed_and_healed(tmp_path: Path, damage: str) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made, 0, GRANULE)  # opens the file, and verifies no more than this
        victim = files(tmp_path)[0]
        with victim.open("r+b") as file:
            if damage == "flip":
                file.seek(3 * GRANULE + 5)
                file.write(bytes([BODY[3 * GRANULE + 5] ^ 1]))
            else:
                file.truncate(2 * GRANULE)
        assert made.read_now(NAME, 3 * GRANULE, 3 * GRANULE + 100) is None
        assert not await holds(made, 3 * GRANULE, 4 * GRANULE)
        assert not await holds(made)
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)


async def test_what_is_evicted_between_two_reads_is_gone_with_its_room(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)
        assert len(open_below(tmp_path)) == 3
        await made.evict(NAME)
        assert open_below(tmp_path) == []
        assert made.read_now(NAME, 0, 10) is None
        assert not await holds(made)


@pytest.mark.parametrize("how", ["another mount", "by hand"])
async def test_files_deleted_under_a_mount_are_closed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, how: str
) -> None:
    folder = tmp_path / "cache"
    with cache(folder) as made, cache(folder) as other:
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)
        if how == "another mount":
            await other.evict(NAME)
        else:
            shutil.rmtree(folder)
        # Until they are closed they have the same bytes: of this version, and no others.
        data = made.read_now(NAME, 5, 500)
        assert data is None or data == BODY[5:500]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.tend)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert open_below(folder) == []
        assert made.read_now(NAME, 5, 500) is None
        assert not await holds(made)


async def test_files_that_nobody_reads_from_are_closed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)
        later = time.time() + 3600
        monkeypatch.setattr(time, "time", lambda: later)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.tend)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert open_below(tmp_path) == []
        assert await holds(made)


@contextmanager
def all_descriptors_taken() -> Iterator[None]:
    """While this process can open nothing more."""
    with ExitStack() as taken:
        with suppress(OSError):
            while True:
                taken.enter_context(Path(os.devnull).open())
        yield


async def test_few_descriptors_are_no_obstacle(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with cache(tmp_path) as made:
            names = [object_id("bucket", str(number), "") for number in range(60)]
            for name in names:
                await made.store(name, 0, memoryview(BODY)[:GRANULE])
                assert await made.read(name, 0, GRANULE) == BODY[:GRANULE]
            assert 0 < len(open_below(tmp_path)) <= 32
            with all_descriptors_taken():
                for name in names:
                    assert await made.read(name, 0, GRANULE) == BODY[:GRANULE]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_segment_that_is_often_waited_for_is_read_whole(tmp_path: Path) -> None:
    if not knows_nowait(tmp_path):
        pytest.skip("this file system always waits")
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.tend)
            for number in (3, 40, 80, 120):
                start = number * GRANULE
                assert await made.read(NAME, start, start + GRANULE, at_random=True)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(10):
                while made.read_now(NAME, 0, SEGMENT) is None:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert made.read_now(NAME, 0, SEGMENT) == BODY[:SEGMENT]
        assert made.read_now(NAME, SEGMENT, SEGMENT + 10) is None


async def keep_small(made: BlockCache, count: int, size: int) -> dict[bytes, memoryview]:
    """Small objects by name, stored all at once, as directory read-ahead does."""
    bodies = {
        object_id("bucket", f"small/{number}", ""): memoryview(BODY)[number : number + size]
        for number in range(count)
    }
    async with trio.open_nursery() as nursery:
        for name, body in bodies.items():
            nursery.start_soon(made.store, name, 0, body)
    return bodies


@pytest.mark.parametrize("size", [1, 4096, GRANULE - 1])
async def test_small_objects_are_kept_without_a_file_each(tmp_path: Path, size: int) -> None:
    with cache(tmp_path) as made:
        bodies = await keep_small(made, 50, size)
        assert files(tmp_path) == []
        assert {made.cached_bytes(name) for name in bodies} == {size}
    with cache(tmp_path) as made:
        for name, body in bodies.items():
            assert await made.read(name, 0, size) == body


async def test_a_damaged_small_object_is_fetched_again(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        (name,) = await keep_small(made, 1, 4096)
    database = sqlite3.connect(tmp_path / "blocks.sqlite", isolation_level=None)
    database.execute("UPDATE segments SET data = zeroblob(4096)")
    database.close()
    with cache(tmp_path) as made:
        assert await made.read(name, 0, 4096) is None
        bodies = await keep_small(made, 1, 4096)
        assert await made.read(name, 0, 4096) == bodies[name]


async def test_evicted_small_objects_give_their_space_back(tmp_path: Path) -> None:
    with cache(tmp_path, limit=4 * MIB) as made:
        for _ in range(4):
            bodies = await keep_small(made, 60, 60_000)
            for name in bodies:
                await made.evict(name)
    assert os.stat(tmp_path / "blocks.sqlite").st_size < MIB


async def test_small_objects_keep_to_the_limit(tmp_path: Path) -> None:
    with cache(tmp_path, limit=2 * MIB) as made:
        names = list(await keep_small(made, 60, 60_000))
        names += await keep_small(made, 120, 60_000)
        assert sum(made.cached_bytes(name) for name in set(names)) <= 2 * MIB + 64 * 60_000


async def test_a_cancelled_batch_does_not_hold_up_the_next(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_small, made, 50, 4096)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        bodies = await keep_small(made, 50, 2048)
        assert all([await made.read(name, 0, 2048) == body for name, body in bodies.items()])


async def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    names = [object_id("bucket", str(number), "") for number in range(12)]
    piece = memoryview(BODY)[:MIB]
    with cache(tmp_path, limit=8 * MIB) as made:
        await made.pin(b"path", names[1])
        for number, name in enumerate(names):
            await made.store(name, 0, piece)
            if number >= 2:
                assert await made.read(names[2], 0, MIB) == piece
            # Uses are told apart by the second.
            database = sqlite3.connect(tmp_path / "blocks.sqlite", isolation_level=None)
            database.execute("UPDATE segments SET used = used - 10")
            database.close()
        kept = [name for name in names if made.cached_bytes(name)]
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 8 * MIB
    assert {names[1], names[2], names[-1]} <= set(kept)
    assert names[0] not in kept


async def test_a_minimum_of_free_space_is_left(tmp_path: Path) -> None:
    with cache(tmp_path, min_free=2**62) as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert not await holds(made)
        assert files(tmp_path) == []


async def test_two_mounts_share_and_evict_the_same_cache(tmp_path: Path) -> None:
    with cache(tmp_path, 4 * MIB) as first, cache(tmp_path, 4 * MIB) as second:
        names = [object_id("bucket", str(number), "") for number in range(40)]

        async def churn(made: BlockCache, seed: int) -> None:
            draw = random.Random(seed)
            for _ in range(60):
                number = draw.randrange(len(names))
                piece = memoryview(BODY)[number : number + 256 * 1024]
                found = await made.read(names[number], 0, len(piece))
                assert found is None or found == piece
                await made.store(names[number], 0, piece)

        async with trio.open_nursery() as nursery:
            for made, seed in ((first, 1), (second, 2), (first, 3), (second, 4)):
                nursery.start_soon(churn, made, seed)
        await first.store(NAME, 0, memoryview(BODY)[:GRANULE])
        assert await holds(second, 0, GRANULE)
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 5 * MIB


async def test_a_disk_that_refuses_means_no_caching(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with cache(tmp_path / "file") as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert not await holds(made)
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY)[:GRANULE])
        shutil.rmtree(tmp_path / "blocks")
        (tmp_path / "blocks").touch()
        assert not await holds(made, 0, GRANULE)
        await made.store(NAME, 0, memoryview(BODY))
        assert not await holds(made)


async def test_a_full_disk_means_no_caching(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk")
    try:
        with cache(disk) as made:
            await made.store(NAME, 0, memoryview(BODY))
            assert not await holds(made)
            assert not await holds(made, 0, GRANULE)
            await made.store(NAME, 0, memoryview(BODY)[:GRANULE])
        with cache(disk) as made:
            assert not await holds(made)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_damaged_table_is_made_anew(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
    (tmp_path / "blocks.sqlite").write_bytes(b"no database" * 1000)
    with cache(tmp_path) as made:
        assert not await holds(made)
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)


async def test_a_table_made_anew_shares_no_file_with_the_one_before(tmp_path: Path) -> None:
    with cache(tmp_path) as old:
        await old.store(NAME, 0, memoryview(BODY))
        assert await holds(old)
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"blocks.sqlite{suffix}").unlink()
        with cache(tmp_path) as new:
            other = memoryview(bytes(len(BODY)))
            await new.store(object_id("bucket", "other", ""), 0, other)
            assert await holds(old)


async def test_a_table_damaged_in_use_is_made_anew_by_the_next_mount(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        for number in range(2000):
            await made.store(object_id("b", str(number), ""), 0, memoryview(b"small"))
    table = tmp_path / "blocks.sqlite"
    data = table.read_bytes()
    table.write_bytes(data[:8192] + bytes(len(data) - 8192))
    with cache(tmp_path) as made:
        assert not await holds(made)
        await made.store(NAME, 0, memoryview(BODY))
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)


@pytest.mark.parametrize("column", ["sums = x'01'", "sums = x''", "present = 'text'"])
async def test_a_damaged_row_is_fetched_again(tmp_path: Path, column: str) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
    with closing(sqlite3.connect(tmp_path / "blocks.sqlite")) as table:
        table.execute(f"UPDATE segments SET {column}")
        table.commit()
    with cache(tmp_path) as made:
        assert not await holds(made)
        await made.store(NAME, 0, memoryview(BODY))
        assert await holds(made)


async def test_a_file_that_another_mount_evicts_is_not_made_again(tmp_path: Path) -> None:
    with cache(tmp_path) as one, cache(tmp_path) as two:
        await one.store(NAME, 0, memoryview(BODY)[:GRANULE])
        (path,) = files(tmp_path)
        path.unlink()
        await two.store(NAME, GRANULE, memoryview(BODY)[GRANULE : 2 * GRANULE])
        assert files(tmp_path) == []
        assert not await holds(one, 0, GRANULE)
        assert not await holds(two, GRANULE, 2 * GRANULE)


async def test_a_pin_goes_on_to_the_next_version(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.pin(b"path", b"old")
        await made.pin(b"path", b"new")
        assert not made.is_pinned(b"old")
        assert made.is_pinned(b"new")
        await made.unpin(b"path")
        assert not made.is_pinned(b"new")


async def test_eviction_by_name(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        await made.store(NAME, 0, memoryview(BODY))
        await made.evict(NAME)
        assert made.cached_bytes(NAME) == 0
        assert files(tmp_path) == []


_WRITER = """
import sys, trio
from pathlib import Path
from provenafs.content.cache.block_cache import BlockCache, object_id
from provenafs.lib.buffers import Buffers

async def main():
    made = BlockCache(Path(sys.argv[1]), Buffers(), 1 << 30, 0)
    body = bytes(range(256)) * 4096
    print("ready", flush=True)
    for number in range(10**6):
        await made.store(object_id("bucket", str(number), ""), 0, memoryview(body))

trio.run(main)
"""


async def test_what_a_killed_mount_left_is_right(tmp_path: Path) -> None:
    body = bytes(range(256)) * 4096
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        while len(files(tmp_path)) < 20:
            await trio.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
    finally:
        writer.kill()
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    with cache(tmp_path) as made:
        present = 0
        for number in range(len(files(tmp_path)) + 1):
            data = await made.read(object_id("bucket", str(number), ""), 0, len(body))
            assert data is None or data == body
            present += data is not None
        assert present >= 15
