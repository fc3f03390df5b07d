"""Staged bytes against a bytearray, and what is left of them after the process is gone."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from provenafs.content.staging.staged_bytes import ReadBase, StagedBytes, StagingArea
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.lib.buffers import Buffers

_SPAN = st.integers(0, 60)
_STEP = st.one_of(
    st.tuples(st.just("write"), _SPAN, st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("truncate"), _SPAN, st.just(b"")),
    st.tuples(st.just("publish"), st.just(0), st.just(b"")),
)


def _reader(base: bytes) -> ReadBase:
    async def read(offset: int, size: int) -> bytes:
        # Shorter than asked for: the caller must go on.
        return base[offset : offset + min(size, 7)]

    return read


def _apply(model: bytearray, name: str, position: int, data: bytes) -> None:
    if name == "write":
        model.extend(bytes(max(0, position + len(data) - len(model))))
        model[position : position + len(data)] = data
    elif name == "truncate":
        del model[position:]
        model.extend(bytes(position - len(model)))


@given(st.binary(max_size=50), st.lists(_STEP, max_size=15), _SPAN, _SPAN)
@settings(max_examples=150, deadline=None)
def test_reads_see_base_and_writes_also_after_a_crash(
    base: bytes, steps: list[tuple[str, int, bytes]], offset: int, size: int
) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with trio.open_nursery() as nursery:
                area = StagingArea(Path(folder), 1000, Buffers(), Background(nursery))
                staged = await area.create("a", len(base), _reader(base))
                model = bytearray(base)
                published = base
                for name, position, data in steps:
                    _apply(model, name, position, data)
                    if name == "write":
                        await staged.write(position, data)
                    elif name == "truncate":
                        await staged.truncate(position)
                    else:
                        published = bytes(model)
                        staged.rebase(_reader(published))
                        await staged.restart_log()
                    assert staged.size == len(model)
                    assert area.used == staged.local.total
                assert await staged.read(offset, size) == model[offset : offset + size]
                # A second process finds the same.
                again = StagingArea(Path(folder), 1000, Buffers(), Background(nursery))
                left = await again.recover("a", len(published), _reader(published))
                assert await left.read(0, 1000) == model
                staged.close()
                left.close()
                assert area.used == again.used == 0

    trio.run(main)


async def test_dirty_is_what_the_object_does_not_have(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    staged = await _staged(nursery, tmp_path, b"0123456789")
    await staged.write(2, b"ab")
    await staged.truncate(6)
    await staged.write(8, b"z")
    assert list(staged.dirty) == [(2, 4), (8, 9)]
    assert staged.base_size == 6
    assert await staged.read(0, 100) == b"01ab45\0\0z"


async def test_over_budget_is_enospc_and_loses_nothing(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    staged = await _staged(nursery, tmp_path, b"", budget=10)
    await staged.write(0, b"12345678")
    with pytest.raises(FSError) as caught:
        await staged.write(8, b"abc")
    assert caught.value.errno == errno.ENOSPC
    await staged.write(8, b"ab")
    await staged.write(0, b"xx")  # rewriting takes no room
    assert await staged.read(0, 20) == b"xx345678ab"


async def test_room_is_reclaimed_when_there_is_any(tmp_path: Path, nursery: trio.Nursery) -> None:
    area = StagingArea(tmp_path, 10, Buffers(), Background(nursery))
    old = await area.create("old", 0, None)
    new = await area.create("new", 0, None)
    await old.write(0, b"12345678")

    async def reclaim() -> bool:
        given_up = old.give_up([(0, 8)])
        await old.punch(given_up)
        return bool(given_up)

    area.reclaim = reclaim
    await new.write(0, b"abcdef")
    assert area.used == 6
    for denied in (old.read(0, 1), old.write(7, b"x")):
        with pytest.raises(FSError) as caught:
            await denied
        assert caught.value.errno == errno.EIO
    await old.write(8, b"9")
    old.rebase(_reader(b"123456789"))
    assert await old.read(0, 20) == b"123456789"


async def test_a_read_that_publishing_overtook_reads_the_new_object(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    staged = await _staged(nursery, tmp_path, b"0123456789")
    await staged.write(0, b"ab")

    async def overtaken(offset: int, size: int) -> bytes:
        staged.rebase(_reader(b"ab23456789"))
        raise FSError(errno.ESTALE)

    staged.read_base = overtaken
    assert await staged.read(0, 20) == b"ab23456789"


async def test_a_disk_that_is_full_is_enospc(nursery: trio.Nursery) -> None:
    # /dev/full answers ENOSPC to every write, as a full disk does.
    with tempfile.TemporaryDirectory() as folder:
        area = StagingArea(Path(folder), 1000, Buffers(), Background(nursery))
        staged = await area.create("a", 0, None)
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, staged._file)
        os.close(full)
        with pytest.raises(FSError) as caught:
            await staged.write(0, b"x")
        assert caught.value.errno == errno.ENOSPC
        assert area.used == 0
        assert staged.size == 0


async def test_only_the_owner_may_look(tmp_path: Path, nursery: trio.Nursery) -> None:
    staged = await _staged(nursery, tmp_path, b"x")
    await staged.write(0, b"y")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "staging").iterdir()]
    assert modes == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "staging").stat().st_mode) == 0o700


async def test_files_beyond_the_largest_object_are_refused(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    staged = await _staged(nursery, tmp_path, b"")
    for denied in (staged.write(5 * 2**40, b"x"), staged.truncate(5 * 2**40 + 1)):
        with pytest.raises(FSError) as caught:
            await denied
        assert caught.value.errno == errno.EFBIG


async def test_a_hole_takes_no_room_but_is_no_larger_than_the_budget(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    staged = await _staged(nursery, tmp_path, b"base", budget=1000)
    await staged.truncate(1004)
    assert staged.dirty.total == 0
    for denied in (staged.truncate(1005), staged.write(1005, b"x")):
        with pytest.raises(FSError) as caught:
            await denied
        assert caught.value.errno == errno.ENOSPC
    assert staged.size == 1004
    await staged.write(4, bytes(100))  # what is written is no hole any more
    await staged.truncate(1104)
    assert await staged.read(0, 2000) == b"base" + bytes(1100)


async def test_a_hole_takes_no_room_after_a_crash(tmp_path: Path, nursery: trio.Nursery) -> None:
    area = StagingArea(tmp_path, 2**30, Buffers(), Background(nursery))
    staged = await area.create("a", 0, None)
    await staged.write(0, b"begin")
    await staged.write(2**29, b"end")
    await staged.leave()
    left = await area.recover("a", 0, None)
    assert left.size == 2**29 + 3
    assert area.used < 2**21
    assert await left.read(0, 10) == b"begin" + bytes(5)
    assert await left.read(2**29 - 2, 10) == bytes(2) + b"end"
    left.close()


async def _staged(
    nursery: trio.Nursery, folder: Path, base: bytes, budget: int = 1000
) -> StagedBytes:
    return await StagingArea(folder, budget, Buffers(), Background(nursery)).create(
        "a", len(base), _reader(base)
    )
