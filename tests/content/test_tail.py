"""The end of a file in memory: the bytes of the file, written behind in order, and bounded."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from provenafs.content.staging import staged_bytes as staging
from provenafs.content.staging import write_buffer as tails
from provenafs.content.staging.staged_bytes import StagedBytes, StagingArea
from provenafs.content.staging.write_buffer import WriteBuffer, WriteBuffers
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.lib.buffers import Buffers

_BLOCK = 16

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "write", "truncate", "sync", "read"]),
        st.integers(0, 80),
        st.binary(min_size=1, max_size=40),
    ),
    max_size=20,
)


class Disk:
    """Takes what is written out, unless it is held up or full."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_held_up = False
        self.is_full = False

    async def write_out(self, offset: int, data: memoryview) -> None:
        while self.is_held_up:
            await trio.sleep(0.001)
        if self.is_full:
            raise FSError(errno.ENOSPC)
        self.data.extend(bytes(max(0, offset - len(self.data))))
        assert offset == len(self.data)  # in order, and nothing twice
        self.data += data


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "BLOCK", _BLOCK)
    monkeypatch.setattr(tails, "_BEHIND", _BLOCK)


@pytest.fixture
def disk() -> Disk:
    disk = Disk()
    disk.data += bytes(_BLOCK)  # the first block is not the tail's
    return disk


async def _append(tail: WriteBuffer, offset: int, data: bytes) -> int:
    left = memoryview(data)
    while left and (count := await tail.append(offset, left)):
        offset, left = offset + count, left[count:]
    return offset


@given(_STEPS)
@settings(max_examples=150, deadline=None)
def test_a_staged_file_with_a_tail_is_a_file(steps: list[tuple[str, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trio.run(_compare, Path(folder), steps)


async def _compare(folder: Path, steps: list[tuple[str, int, bytes]]) -> None:
    async with trio.open_nursery() as nursery:
        area = StagingArea(folder, 10_000, Buffers(), Background(nursery))
        staged = await area.create("a", 0, None)
        model = bytearray()
        for name, position, data in steps:
            if name in ("append", "write"):
                start = len(model) if name == "append" else position
                model.extend(bytes(max(0, start + len(data) - len(model))))
                model[start : start + len(data)] = data
                await staged.write(start, data)
            elif name == "truncate":
                del model[position:]
                model.extend(bytes(position - len(model)))
                await staged.truncate(position)
            elif name == "sync":
                await staged.sync()
                assert area.path("a").read_bytes() == model
            else:
                found = await staged.read(position, len(data))
                assert found == model[position : position + len(data)]
        assert await staged.read(0, len(model)) == model
        await staged.leave()
        assert area.path("a").read_bytes() == model
        assert (area.used, area.tails.blocks, area.tails.behind) == (0, 0, 0)


async def test_who_writes_does_not_wait_for_the_disk(nursery: trio.Nursery, disk: Disk) -> None:
    tail = WriteBuffer(WriteBuffers(Buffers(), Background(nursery)), disk.write_out)
    disk.is_held_up = True
    with trio.fail_after(1):
        assert await _append(tail, 16, b"0123456789abcdef") == 32
    assert tail.get(18, 22) == b"2345"
    with trio.move_on_after(0.05) as scope:  # but it does when the disk lacks too much
        await _append(tail, 32, b"x" * 40)
    assert scope.cancelled_caught
    disk.is_held_up = False
    await tail.settle()
    assert disk.data[16:32] == b"0123456789abcdef"
    assert tail.on_disk == tail.end == len(disk.data)


async def test_what_the_disk_refuses_stays_in_memory_and_is_tried_again(
    nursery: trio.Nursery, disk: Disk
) -> None:
    tail = WriteBuffer(WriteBuffers(Buffers(), Background(nursery)), disk.write_out)
    disk.is_full = True
    await _append(tail, 16, b"0123456789")
    await wait_all_tasks_blocked()
    assert tail.has_failed
    with pytest.raises(FSError):
        await tail.settle()
    assert tail.get(16, 26) == b"0123456789"
    disk.is_full = False
    await tail.settle()
    assert not tail.has_failed
    assert disk.data[16:] == b"0123456789"


async def test_a_reader_waits_for_no_more_than_it_reads(nursery: trio.Nursery, disk: Disk) -> None:
    tail = WriteBuffer(WriteBuffers(Buffers(), Background(nursery)), disk.write_out)
    end = await _append(tail, 16, b"x" * 12)
    is_settled = trio.Event()

    async def read() -> None:
        await tail.settle(20)
        is_settled.set()

    nursery.start_soon(read)
    with trio.fail_after(2):
        while not is_settled.is_set():  # somebody goes on writing
            end = await _append(tail, end, b"x")
    assert tail.on_disk >= 20


async def test_a_full_disk_does_not_keep_a_file_from_being_cut(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, data: memoryview, offset: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    area = StagingArea(tmp_path, 10_000, Buffers(), Background(nursery))
    staged = await area.create("a", 0, None)
    await staged.write(0, b"0" * 16)
    monkeypatch.setattr(staging, "write_directly", refuse)  # /dev/full cannot be cut
    await staged.write(16, b"1" * 10)
    await wait_all_tasks_blocked(0.05)
    await staged.truncate(16)
    assert await staged.read(0, 100) == b"0" * 16
    await staged.discard()


async def test_what_is_dropped_is_not_written_later(nursery: trio.Nursery, disk: Disk) -> None:
    tail = WriteBuffer(WriteBuffers(Buffers(), Background(nursery)), disk.write_out)
    disk.is_full = True
    await _append(tail, 16, b"0123456789")
    await wait_all_tasks_blocked(0.01)
    disk.is_full, disk.is_held_up = False, True
    nursery.start_soon(tail.settle)  # as a read does
    await wait_all_tasks_blocked()
    with trio.move_on_after(0.05) as scope:
        await tail.settle()
    assert scope.cancelled_caught
    nursery.start_soon(_let_go, disk)
    await tail.drop()
    assert disk.data[16:] == b"0123456789"  # what was under way has ended
    await trio.sleep(0.02)
    assert disk.data[16:] == b"0123456789"


async def _let_go(disk: Disk) -> None:
    await trio.sleep(0.02)
    disk.is_held_up = False


async def test_only_what_continues_is_taken_and_memory_is_bounded(
    nursery: trio.Nursery, disk: Disk
) -> None:
    shared = WriteBuffers(Buffers(), Background(nursery))
    tail = WriteBuffer(shared, disk.write_out)
    assert await tail.append(0, memoryview(b"a")) == 0
    assert await tail.append(17, memoryview(b"a")) == 0
    end = await _append(tail, 16, bytes(range(200)))
    assert end == 216
    assert await tail.append(end + 1, memoryview(b"a")) == 0
    assert shared.blocks <= 3
    assert tail.get(16, 20) is None  # forgotten, and on disk
    await tail.settle()
    assert disk.data[16:] == bytes(range(200))
    others = [WriteBuffer(shared, Disk().write_out) for _ in range(8)]
    taken = [await other.append(16, memoryview(b"a")) for other in others]
    assert sum(taken) == shared.blocks - 3 < len(others)
    for each in (tail, *others):
        await each.drop()
    assert shared.blocks == shared.behind == 0


async def test_a_full_disk_is_told_to_the_next_write(nursery: trio.Nursery, tmp_path: Path) -> None:
    area = StagingArea(tmp_path, 10_000, Buffers(), Background(nursery))
    staged = await area.create("a", 0, None)
    await staged.write(0, b"0" * 16)
    with _full_disk(staged):
        await staged.write(16, b"1" * 10)
        await wait_all_tasks_blocked(0.05)
        with pytest.raises(FSError) as caught:
            await staged.write(26, b"2")
    assert caught.value.errno == errno.ENOSPC
    await staged.write(26, b"3")
    assert await staged.read(0, 100) == b"0" * 16 + b"1" * 10 + b"3"
    await staged.leave()
    assert area.path("a").read_bytes() == b"0" * 16 + b"1" * 10 + b"3"


@contextmanager
def _full_disk(staged: StagedBytes) -> Iterator[None]:
    """The staging file is /dev/full meanwhile."""
    real, full = os.dup(staged._file), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, staged._file)
    try:
        yield
    finally:
        os.dup2(real, staged._file)
        os.close(real)
        os.close(full)
