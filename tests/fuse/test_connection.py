"""Whose process a mount is: what the mount says of itself is not believed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from provenafs.fuse import connection
from provenafs.fuse.connection import Server, server_of
from provenafs.fuse.mountpoint import Mounted, mounted_at
from tests.support.mounting import has_ended, is_mounted
from tests.support.running_sandbox import run_cli

_LYING = Path(__file__).with_name("lying_mount.py")


@contextmanager
def serving(path: Path, named: int) -> Iterator[subprocess.Popen[bytes]]:
    path.mkdir()
    process = subprocess.Popen([sys.executable, _LYING, path, str(named)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if is_mounted(path):
            subprocess.run(["fusermount3", "-u", "-z", "--", path], check=False)
        process.kill()
        process.wait(20)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("force", [True, False])
def test_umount_does_not_touch_a_process_that_a_mount_merely_names(
    tmp_path: Path, victim: subprocess.Popen[bytes], force: bool
) -> None:
    path = tmp_path / "mount"
    with serving(path, victim.pid) as server:
        arguments = ["umount", *(["--force"] if force else []), str(path)]
        done = run_cli(dict(os.environ), *arguments)
        assert done.returncode == 0, done.stderr
        assert not is_mounted(path)
        assert has_ended(server.pid)  # it was waited for, and not the other
        assert victim.poll() is None


def mounted(path: Path) -> Mounted:
    found = mounted_at(path)
    assert found is not None
    return found


def pid_of(server: Server | None) -> int | None:
    if server is None:
        return None
    with closing(server):
        return server.pid


def test_of_two_mounts_each_has_its_own_process(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with serving(one, 1) as first, serving(other, first.pid) as second:
        assert pid_of(server_of(mounted(one))) == first.pid
        assert pid_of(server_of(mounted(other), hint=first.pid)) == second.pid


def test_a_kernel_that_tells_less(
    tmp_path: Path, victim: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the mount says is taken if that is a provenafs of the same user's with /dev/fuse."""
    monkeypatch.setattr(connection, "_number", lambda information: None)
    path = tmp_path / "provenafs"
    with serving(path, 1) as process:
        mount = mounted(path)
        assert server_of(mount) is None
        assert pid_of(server_of(mount, hint=process.pid)) == process.pid
        assert server_of(mount, hint=victim.pid) is None
        assert server_of(mount, hint=2**22 + 1) is None
        theirs = Mounted(mount.path, mount.filesystem_type, mount.device, os.getuid() + 1)
        assert server_of(theirs, hint=process.pid) is None
