"""Random operations on a dataset's files and on a local directory, with the same results.

At the end of each run everything is closed, and the bucket must hold what the directory holds.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenafs.content.listing.index import Entry
from provenafs.content.writing.open_files import FileHandle
from provenafs.errors import FSError
from tests.support import virtual_time
from tests.support.memory_bucket import (
    Exchange,
    Fault,
    MemoryServer,
    cut,
    delay,
    lose_answer,
    s3_failure,
)
from tests.support.moto_bucket import BUCKET
from tests.support.soaking import is_soaking, times
from tests.support.store import Store, objects, open_store

_NAMES = ("a", "b", "d/a", "d/b", "d", "e", "e/a")
_PATH = st.sampled_from(_NAMES)
_OFFSET = st.integers(0, 30)
_OPERATION = st.one_of(
    st.tuples(st.just("create"), _PATH, st.sampled_from([0, os.O_EXCL, os.O_TRUNC])),
    st.tuples(st.just("open"), _PATH, st.sampled_from([0, os.O_TRUNC])),
    st.tuples(st.just("write"), st.integers(0, 3), _OFFSET, st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("read"), st.integers(0, 3), _OFFSET, _OFFSET),
    st.tuples(st.just("flush"), st.integers(0, 3)),
    st.tuples(st.just("sync"), st.integers(0, 3)),
    st.tuples(st.just("release"), st.integers(0, 3)),
    st.tuples(st.just("truncate"), _PATH, _OFFSET),
    st.tuples(st.just("mkdir"), _PATH),
    st.tuples(st.just("rmdir"), _PATH),
    st.tuples(st.just("unlink"), _PATH),
    st.tuples(st.just("rename"), _PATH, _PATH),
    st.tuples(st.just("list"), st.sampled_from(["", "d", "e"])),
    st.tuples(st.just("relist"), st.sampled_from(["", "d", "e"])),
)


class Local:
    """The operations on a local directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handles: list[int] = []

    def create(self, path: str, flags: int) -> None:
        self._open(path, os.O_RDWR | os.O_CREAT | flags)

    def open(self, path: str, flags: int) -> None:
        self._open(path, os.O_RDWR | flags)

    def _open(self, path: str, flags: int) -> None:
        self.handles.append(os.open(self.folder / path, flags))

    def write(self, number: int, offset: int, data: bytes) -> int:
        return os.pwrite(self.handles[number], data, offset)

    def read(self, number: int, offset: int, size: int) -> bytes:
        return os.pread(self.handles[number], size, offset)

    def flush(self, number: int) -> None:
        os.fstat(self.handles[number])

    sync = flush

    def release(self, number: int) -> None:
        os.close(self.handles.pop(number))

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self.folder / path, size)

    def mkdir(self, path: str) -> None:
        (self.folder / path).mkdir()

    def rmdir(self, path: str) -> None:
        (self.folder / path).rmdir()

    def unlink(self, path: str) -> None:
        if (self.folder / path).is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        (self.folder / path).unlink()

    def rename(self, path: str, new_path: str) -> None:
        (self.folder / path).rename(self.folder / new_path)

    def list(self, path: str) -> list[str]:
        return sorted(os.listdir(self.folder / path))

    relist = list


class Remote:
    """The same operations on the files of a dataset; the checks of the kernel included."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.handles: list[FileHandle] = []

    async def create(self, path: str, flags: int) -> None:
        await self._walk_to(path)
        handle = await self.store.open(path, os.O_RDWR | os.O_CREAT | flags)
        self.handles.append(handle)

    async def open(self, path: str, flags: int) -> None:
        entry = await self._find(path)
        if entry.kind != 2:
            raise FSError(errno.EISDIR)
        handle = await self.store.open(path)
        if flags & os.O_TRUNC:
            await handle.file.truncate(0)
        self.handles.append(handle)

    async def _walk_to(self, path: str) -> None:
        parent = await self.store.entry(path.rpartition("/")[0])
        if parent.kind == 2:
            raise FSError(errno.ENOTDIR)

    async def _find(self, path: str) -> Entry:
        await self._walk_to(path)
        return await self.store.entry(path)

    async def write(self, number: int, offset: int, data: bytes) -> int:
        return await self.handles[number].write(offset, data)

    async def read(self, number: int, offset: int, size: int) -> bytes:
        return bytes(await self.handles[number].read(offset, size))

    async def flush(self, number: int) -> None:
        await self.handles[number].flush()

    async def sync(self, number: int) -> None:
        await self.handles[number].sync()

    async def release(self, number: int) -> None:
        handle = self.handles.pop(number)
        await handle.flush()
        await handle.release()

    async def truncate(self, path: str, size: int) -> None:
        if (await self._find(path)).kind != 2:
            raise FSError(errno.EISDIR)
        await self.store.truncate(path, size)

    async def mkdir(self, path: str) -> None:
        await self._walk_to(path)
        await self.store.mkdir(path)

    async def rmdir(self, path: str) -> None:
        await self._find(path)
        await self.store.rmdir(path)

    async def unlink(self, path: str) -> None:
        await self._find(path)
        await self.store.unlink(path)

    async def rename(self, path: str, new_path: str) -> None:
        await self._walk_to(path)
        await self._walk_to(new_path)
        await self._find(path)
        if new_path.startswith(f"{path}/"):
            raise FSError(errno.EINVAL)
        if path.startswith(f"{new_path}/"):
            raise FSError(errno.ENOTEMPTY)
        await self.store.rename(path, new_path)

    async def list(self, path: str) -> list[str]:
        if (await self._find(path)).kind == 2:
            raise FSError(errno.ENOTDIR)
        return await self.store.names(path)

    async def relist(self, path: str) -> Sequence[str]:
        """As `list`, but from the bucket."""
        entry = await self._find(path)
        self.store.index.expire(entry.ino)
        return await self.list(path)


@pytest.mark.parametrize("writeback", [False, True])
def test_files_behave_as_on_a_local_disk(writeback: bool) -> None:
    """In virtual time: requests take long, and some are cut or lose their answers."""

    @settings(
        max_examples=times(60),
        derandomize=not is_soaking(),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(_OPERATION, min_size=80, max_size=250), st.integers(0, 2**32))
    def run(operations: list[tuple[Any, ...]], seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            virtual_time.run(_compare, Path(folder), writeback, operations, seed)

    run()


def _weather(seed: int) -> Fault:
    """Every request takes some time; of ten one is refused, cut, or not answered."""
    chance = random.Random(seed)
    bad = [cut(), lose_answer(), s3_failure("503 Slow Down", "SlowDown")]

    async def fault(exchange: Exchange) -> Any:
        await trio.sleep(chance.random() / 10)
        if chance.random() < 0.1:
            return await chance.choice(bad)(exchange)
        return await delay(0, chance.random() / 10)(exchange)

    return fault


async def _compare(
    folder: Path, writeback: bool, operations: list[tuple[Any, ...]], seed: int
) -> None:
    prefix, server = "datasets/model/", MemoryServer()
    server.fail(lambda request: True, _weather(seed))
    (folder / "local").mkdir()
    local = Local(folder / "local")
    for name in ("d", "e"):
        local.mkdir(name)
        server.client.put_object(Bucket=BUCKET, Key=f"{prefix}{name}/", Body=b"")
    try:
        async with open_store(server, prefix, folder, writeback=writeback) as store:
            remote = Remote(store)
            with trio.fail_after(3600):
                for name, *arguments in operations:
                    await _step(local, remote, name, arguments)
                while remote.handles:
                    await remote.release(0)
                    local.release(0)
                await store.store.drain()
            assert store.failures == []
            assert store.store.transfers() == []
            assert store.area.used == 0
            assert [row for row, _ in await store.journal.rows()] == []
            assert list(store.area.folder.iterdir()) == []
        expected = _tree(local.folder)
        found = objects(server.client, prefix)
        files = {key: body for key, body in found.items() if not key.endswith("/")}
        assert files == {path: body for path, body in expected.items() if body is not None}
        for path, body in expected.items():
            if body is None:
                assert any(key.startswith(f"{path}/") for key in found), path
    finally:
        for handle in local.handles:
            os.close(handle)


async def _step(local: Local, remote: Remote, name: str, arguments: list[Any]) -> None:
    if isinstance(arguments[0], int) and arguments[0] >= len(local.handles):
        return
    expected: Any
    found: Any
    try:
        expected = getattr(local, name)(*arguments)
    except OSError as error:
        expected = error.errno
    try:
        found = await getattr(remote, name)(*arguments)
    except FSError as error:
        found = error.errno
    assert found == expected, (name, arguments)


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }
