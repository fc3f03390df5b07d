"""Random operations on a mount and on a local directory, with the same results.

Another client changes the bucket behind the mount's back too. At the end of each run everything
is closed, and the bucket must hold what the directory holds. The server is moto, which heeds the
conditions of writes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.moto_bucket import client, make_bucket, moto
from tests.support.mounting import Drive, mounted
from tests.support.running_sandbox import RunningSandbox
from tests.support.soaking import is_soaking, times

_NAMES = ("a", "b", "d", "d/a", "d/b", "e", "e/a", "d/f", "d/f/a")
_PATH = st.sampled_from(_NAMES)
_HANDLE = st.integers(0, 3)
_OFFSET = st.integers(0, 30)
_FLAGS = st.sets(st.sampled_from([os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND])).map(sum)
_MODE = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
_BYTES = st.binary(min_size=1, max_size=9)
_OPERATION = st.one_of(
    st.tuples(st.just("make"), _PATH, _BYTES),
    st.tuples(st.just("open"), _PATH, _MODE, _FLAGS),
    st.tuples(st.just("open"), _PATH, st.just(os.O_RDWR), st.just(os.O_CREAT)),
    st.tuples(st.just("write"), _HANDLE, _OFFSET, _BYTES),
    st.tuples(st.just("append"), _HANDLE, _BYTES),
    st.tuples(st.just("read"), _HANDLE, _OFFSET, _OFFSET),
    st.tuples(st.just("fsync"), _HANDLE),
    st.tuples(st.just("ftruncate"), _HANDLE, _OFFSET),
    st.tuples(st.just("size"), _HANDLE),
    st.tuples(st.just("close"), _HANDLE),
    st.tuples(st.just("truncate"), _PATH, _OFFSET),
    st.tuples(st.just("mkdir"), _PATH),
    st.tuples(st.just("rmdir"), _PATH),
    st.tuples(st.just("unlink"), _PATH),
    st.tuples(st.just("rename"), _PATH, _PATH),
    st.tuples(st.just("utime"), _PATH, st.integers(0, 2_000_000_000)),
    st.tuples(st.just("stat"), _PATH),
    st.tuples(st.just("content"), _PATH),
    st.tuples(st.just("walk")),
    st.tuples(st.just("they_put"), _PATH, _BYTES),
    st.tuples(st.just("they_delete"), _PATH),
)


@pytest.fixture(scope="module")
def moto_server(sandbox: RunningSandbox) -> Iterator[str]:
    with moto() as address:
        make_bucket(address, sandbox.bucket)
        yield address


@pytest.mark.parametrize("flags", [(), ("--writeback",)], ids=["default", "writeback"])
def test_a_mount_behaves_as_a_local_disk(
    sandbox: RunningSandbox, moto_server: str, handle: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    runs = iter(range(10**9))
    s3 = client(moto_server)
    flags = ("--s3-endpoint", moto_server, "--ttl", "0", *flags)
    with mounted(sandbox, "alice", tmp_path, *flags) as drive:

        @settings(
            max_examples=times(12),
            derandomize=not is_soaking(),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(_OPERATION, min_size=5, max_size=40))
        def run(operations: list[tuple[Any, ...]]) -> None:
            name = f"run{next(runs)}"
            bucket = _Bucket(s3, sandbox.bucket, f"{sandbox.prefix(handle)}{name}/")
            local = _Folder(tmp_path / name)
            remote = _Folder(drive.data(handle) / name)
            try:
                _compare(operations, local, remote, bucket)
            finally:
                remote.end()
                local.end()

        run()
        _assert_nothing_is_left(drive)


class _Folder:
    """The operations, on a folder wherever it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handles: list[int] = []
        path.mkdir()
        for name in ("d", "e"):
            (path / name).mkdir()

    def end(self) -> None:
        while self.handles:
            self.close(0)
        shutil.rmtree(self.path)

    def wait_until_stored(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make(self, path: str, data: bytes) -> None:
        (self.path / path).write_bytes(data)

    def open(self, path: str, mode: int, flags: int) -> None:
        self.handles.append(os.open(self.path / path, mode | flags))

    def write(self, number: int, offset: int, data: bytes) -> int:
        return os.pwrite(self.handles[number], data, offset)

    def append(self, number: int, data: bytes) -> tuple[int, int]:
        end = os.lseek(self.handles[number], 0, os.SEEK_END)
        return end, os.write(self.handles[number], data)

    def read(self, number: int, offset: int, size: int) -> bytes:
        return os.pread(self.handles[number], size, offset)

    def fsync(self, number: int) -> None:
        os.fsync(self.handles[number])

    def ftruncate(self, number: int, size: int) -> None:
        os.ftruncate(self.handles[number], size)

    def size(self, number: int) -> int:
        return os.fstat(self.handles[number]).st_size

    def close(self, number: int) -> None:
        os.close(self.handles.pop(number))

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self.path / path, size)

    def mkdir(self, path: str) -> None:
        (self.path / path).mkdir()

    def rmdir(self, path: str) -> None:
        (self.path / path).rmdir()

    def unlink(self, path: str) -> None:
        (self.path / path).unlink()

    def rename(self, path: str, new_path: str) -> None:
        (self.path / path).rename(self.path / new_path)

    def utime(self, path: str, mtime: int) -> float | None:
        os.utime(self.path / path, (mtime, mtime))
        seen = (self.path / path).stat().st_mtime
        return None if (self.path / path).is_dir() else seen

    def stat(self, path: str) -> int | None:
        seen = (self.path / path).stat()
        return None if (self.path / path).is_dir() else seen.st_size

    def content(self, path: str) -> bytes:
        return (self.path / path).read_bytes()

    def walk(self) -> dict[str, int | None]:
        return {name: self.stat(name) for name in self._names()}

    def tree(self) -> dict[str, bytes | None]:
        return {
            name: None if (self.path / name).is_dir() else self.content(name)
            for name in self._names()
        }

    def _names(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*"))


class _Bucket:
    """Another client at work on the same folder, without the mount."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, prefix

    def put(self, path: str, data: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=data)

    def delete(self, path: str) -> None:
        """Delete an object and leave its folder."""
        self.put(path.rpartition("/")[0] + "/" if "/" in path else "", b"")
        self._s3.delete_object(Bucket=self._bucket, Key=self._prefix + path)

    def tree(self) -> dict[str, bytes]:
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix)
        keys = [one["Key"] for one in found.get("Contents", [])]
        return {
            key.removeprefix(self._prefix): self._s3.get_object(Bucket=self._bucket, Key=key)[
                "Body"
            ].read()
            for key in keys
        }


def _compare(
    operations: list[tuple[Any, ...]], local: _Folder, remote: _Folder, bucket: _Bucket
) -> None:
    for name, *arguments in operations:
        if name.startswith("they_"):
            _change_behind(name, arguments, local, remote, bucket)
        elif not (arguments and isinstance(arguments[0], int)) or arguments[0] < len(local.handles):
            expected = _attempt(local, name, arguments)
            assert _attempt(remote, name, arguments) == expected, (name, arguments)
    while local.handles:
        local.close(0)
        remote.close(0)
    remote.wait_until_stored()
    _assert_equal(local.tree(), bucket.tree())
    assert remote.tree() == local.tree()


def _attempt(folder: _Folder, name: str, arguments: list[Any]) -> Any:
    try:
        return getattr(folder, name)(*arguments)
    except OSError as error:
        return f"errno {error.errno}"


def _change_behind(
    name: str, arguments: list[Any], local: _Folder, remote: _Folder, bucket: _Bucket
) -> None:
    """What another client does to files that nobody here has open."""
    path = local.path / arguments[0]
    if local.handles or path.is_dir() or not path.parent.is_dir():
        return
    remote.wait_until_stored()
    if name == "they_put":
        bucket.put(*arguments)
        path.write_bytes(arguments[1])
    elif path.exists():
        bucket.delete(*arguments)
        path.unlink()


def _assert_equal(expected: dict[str, bytes | None], found: dict[str, bytes]) -> None:
    files = {key: body for key, body in found.items() if key and not key.endswith("/")}
    assert files == {path: body for path, body in expected.items() if body is not None}
    for path, body in expected.items():
        if body is None:
            assert any(key.startswith(f"{path}/") for key in found), path
    for key in found:
        assert not key or key.rstrip("/") in expected, key


def _assert_nothing_is_left(drive: Drive) -> None:
    pending = (drive.path / ".provenafs/pending.json").read_text()
    assert pending.strip() == "[]"
