"""Whatever goes wrong in a handler, the mount answers and lives on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
