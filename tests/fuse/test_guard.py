"""Whatever goes wrong in a handler, the mount answers and lives on."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from pyfuse3 import FUSEError

from provenafs.fuse.neighbours import Indexers
from provenafs.fuse.operations import Operations
from provenafs.provena.errors import Unavailable
from provenafs.tree.node import Attributes, Handle, Node

_SERVER = Path(__file__).with_name("failing_mount.py")
EXPECTED = {
    "RuntimeError": errno.EIO,
    "AssertionError": errno.EIO,
    "panic": errno.EIO,
    "panic-in-a-thread": errno.EIO,
    "group-of-panics": errno.EIO,
    "group-of-one": errno.EROFS,
    "group-of-two": errno.EIO,
    "s3": errno.EACCES,
    "refused": errno.EACCES,
    "untellable": errno.EIO,
}


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mount whose root fails a lookup in the way of the name looked up."""
    path = tmp_path_factory.mktemp("failing")
    process = subprocess.Popen([sys.executable, _SERVER, path], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield path
    finally:
        subprocess.run(["fusermount3", "-u", "-z", "--", path], check=False)
        process.wait(20)


@pytest.mark.parametrize("name", EXPECTED)
def test_any_exception_is_an_errno_and_the_mount_lives_on(mount: Path, name: str) -> None:
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            (mount / name).stat()
        assert caught.value.errno == EXPECTED[name]
    assert mount.stat().st_mode & 0o777 == 0o555
    assert os.listdir(mount) == []


async def test_what_is_created_and_cannot_be_shown_does_not_stay_open() -> None:
    released = []

    class Opened(Handle):
        async def release(self) -> None:
            released.append(self)

    class Made(Node):
        async def attributes(self) -> Attributes:
            raise Unavailable("the data store does not answer")

    class Parent(Node):
        async def create(self, name: str, flags: int, mode: int = 0) -> tuple[Node, Handle]:
            return Made(2), Opened()

    tree: Any = SimpleNamespace(
        node=Parent,
        path=lambda ino: "/",
        hold=lambda node, handle: None,
        record_error=lambda ino, error: None,
    )
    operations: Any = Operations(tree, Indexers(()))
    with pytest.raises(FUSEError):
        await operations.create(1, b"f", 0o644, os.O_WRONLY, SimpleNamespace(pid=1))
    assert len(released) == 1
    assert operations.account()["open_handles"] == 0


async def test_what_was_cut_off_is_told_before_a_read_shows_that_it_is_missing(
    nursery: trio.Nursery,
) -> None:
    """The kernel fills what is missing of the size it knows with zeros."""
    is_cut, goes_on, found = trio.Event(), trio.Event(), []

    class Cut(Handle):
        async def read(self, offset: int, size: int) -> bytes:
            return b"" if is_cut.is_set() else b"0123456789"

    class File(Node):
        async def set_attributes(self, **given: Any) -> None:
            is_cut.set()
            await goes_on.wait()

        async def attributes(self) -> Attributes:
            return Attributes(self.ino, stat.S_IFREG)

    operations: Any = Operations(SimpleNamespace(node=File), Indexers(()))  # type: ignore[arg-type]
    operations._files[7] = (2, Cut(), 1)

    async def read() -> None:
        found.append(await operations.read(7, 0, 4096))

    await read()
    size = SimpleNamespace(st_size=0)
    fields = SimpleNamespace(update_size=True, update_mtime=False, update_mode=False)
    nursery.start_soon(operations.setattr, 2, size, fields, None, None)
    await is_cut.wait()
    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert found == [b"0123456789"]
    goes_on.set()
    await trio.testing.wait_all_tasks_blocked()
    assert found == [b"0123456789", b""]
