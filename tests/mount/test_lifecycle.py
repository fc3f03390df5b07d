"""Mounting, unmounting, and everything that can be wrong with a mount point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.mounting import MountAs, has_ended, is_mounted, wait_until
from tests.support.running_sandbox import RunningSandbox, run_cli

PENGUINS = "10378.1/1451870"
OCEAN = "10378.1/1451860"


def _mount(
    sandbox: RunningSandbox, home: Path, *arguments: str, user: str = "alice"
) -> subprocess.CompletedProcess[str]:
    return run_cli(
        sandbox.env(user), "mount", "--cache-dir", str(home / "cache"),
        "--state-dir", str(home / "state"), *arguments,
    )  # fmt: skip


def _assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_missing_mount_point(sandbox: RunningSandbox, tmp_path: Path) -> None:
    done = _mount(sandbox, tmp_path, str(tmp_path / "nowhere"))
    _assert_one_sentence(done, "does not exist", "mkdir")


def test_a_mount_point_that_is_a_file(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _assert_one_sentence(_mount(sandbox, tmp_path, str(tmp_path / "file")), "not a directory")


def test_a_mount_point_that_is_not_empty(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    _assert_one_sentence(_mount(sandbox, tmp_path, str(tmp_path / "full")), "not empty")


def test_a_mount_point_in_use(sandbox: RunningSandbox, mount_as: MountAs, tmp_path: Path) -> None:
    drive = mount_as("alice")
    _assert_one_sentence(_mount(sandbox, tmp_path, str(drive.path)), "already mounted")
    assert drive.status()["user"] == "alice"


def test_an_unknown_dataset(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    done = _mount(sandbox, tmp_path, "--dataset", "10378.1/9999999", str(tmp_path / "mount"))
    _assert_one_sentence(done, "10378.1/9999999")
    assert done.returncode == 4
    assert not is_mounted(tmp_path / "mount")


def test_without_a_login(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    environ = sandbox.env("alice")
    del environ["PROVENAFS_TOKEN"]
    done = run_cli(
        environ | {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        "mount", str(tmp_path / "mount"),
    )  # fmt: skip
    _assert_one_sentence(done, "provenafs login")
    assert done.returncode == 3


def test_an_unreachable_store(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    environ = sandbox.env("alice") | {
        "PROVENAFS_DATASTORE_URL": "http://127.0.0.1:1",
        "PROVENAFS_API_TIMEOUT": "2",
    }
    started = time.monotonic()
    done = run_cli(environ, "mount", str(tmp_path / "mount"))
    _assert_one_sentence(done, "127.0.0.1:1")
    assert done.returncode == 6
    assert time.monotonic() - started < 30


def test_allow_other_says_what_it_gives(sandbox: RunningSandbox, tmp_path: Path) -> None:
    path = tmp_path / "mount"
    path.mkdir()
    done = _mount(sandbox, tmp_path, "--allow-other", str(path))
    try:
        assert done.returncode == 0
        assert "every user of this machine can read" in done.stderr
        assert "with your login" in done.stderr
    finally:
        assert run_cli(sandbox.env("alice"), "umount", str(path)).returncode == 0
    quiet = _mount(sandbox, tmp_path, str(path))
    assert run_cli(sandbox.env("alice"), "umount", str(path)).returncode == 0
    assert quiet.stderr == ""


@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
@pytest.mark.parametrize("folder", ["state", "cache"])
def test_a_folder_of_another_user(sandbox: RunningSandbox, tmp_path: Path, folder: str) -> None:
    for path in (tmp_path / "mount", tmp_path / folder):
        path.mkdir()
    os.chown(tmp_path / folder, 65534, 65534)
    done = _mount(sandbox, tmp_path, "--foreground", str(tmp_path / "mount"))
    _assert_one_sentence(done, f"{tmp_path / folder}: ", "another user", "of your own")
    assert not is_mounted(tmp_path / "mount")
    assert os.listdir(tmp_path / folder) == []


def test_only_the_datasets_asked_for(mount_as: MountAs) -> None:
    drive = mount_as("alice", "--dataset", PENGUINS, "--dataset", OCEAN.replace("/", "-"))
    assert sorted(name for name in os.listdir(drive.path) if name[0].isdigit()) == [
        OCEAN.replace("/", "-"),
        PENGUINS.replace("/", "-"),
    ]
    assert sorted(os.listdir(drive.path / "by-name")) == [
        "Ocean and climate samples",
        "Palmer penguins",
    ]
    with pytest.raises(FileNotFoundError):
        drive.dataset("10378.1/1451880").stat()


def test_umount_ends_the_process(sandbox: RunningSandbox, mount_as: MountAs) -> None:
    drive = mount_as("alice")
    pid = drive.pid
    done = run_cli(drive.environ, "umount", str(drive.path))
    assert done.returncode == 0, done.stderr
    assert not is_mounted(drive.path)
    assert has_ended(pid)
    again = run_cli(drive.environ, "umount", str(drive.path))
    _assert_one_sentence(again, "not a provenafs mount")


def test_umount_of_a_busy_mount_says_so(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    with (drive.data(PENGUINS) / "penguins.csv").open("rb"):
        _assert_one_sentence(run_cli(drive.environ, "umount", str(drive.path)), "busy")
    assert run_cli(drive.environ, "umount", str(drive.path)).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(mount_as: MountAs, number: signal.Signals) -> None:
    drive = mount_as("alice")
    pid = drive.pid
    os.kill(pid, number)
    wait_until(lambda: has_ended(pid))
    assert not is_mounted(drive.path)


def test_a_dead_mount_is_cleared_by_the_next_one(
    sandbox: RunningSandbox, mount_as: MountAs, tmp_path: Path
) -> None:
    drive = mount_as("alice")
    os.kill(drive.pid, signal.SIGKILL)
    wait_until(lambda: _is_dead(drive.path))
    assert "dead" in run_cli(drive.environ, "status").stdout
    done = _mount(sandbox, drive.home, str(drive.path))
    assert done.returncode == 0, done.stderr
    assert (drive.data(PENGUINS) / "penguins.csv").stat().st_size > 0
    assert run_cli(drive.environ, "umount", str(drive.path)).returncode == 0


def _is_dead(path: Path) -> bool:
    try:
        os.statvfs(path)
    except OSError:
        return True
    return False


def test_status_lists_the_mount(mount_as: MountAs) -> None:
    drive = mount_as("alice", "--read-only")
    done = run_cli(drive.environ, "status")
    line = next(line for line in done.stdout.splitlines() if str(drive.path) in line)
    assert "as alice" in line
    assert "read-only" in line


def test_a_read_only_mount_refuses_changes(mount_as: MountAs) -> None:
    drive = mount_as("alice", "--read-only")
    for attempt in (
        lambda: (drive.data(PENGUINS) / "new").write_bytes(b"x"),
        lambda: (drive.data(PENGUINS) / "penguins.csv").unlink(),
        lambda: os.mkdir(drive.data(PENGUINS) / "folder"),
    ):
        with pytest.raises(OSError, match="Read-only"):
            attempt()


def test_a_foreground_mount_says_when_it_is_ready(sandbox: RunningSandbox, tmp_path: Path) -> None:
    path = tmp_path / "mount"
    path.mkdir()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "provenafs", "mount", "--foreground",
         "--cache-dir", str(tmp_path / "c"), "--state-dir", str(tmp_path / "s"), str(path)],
        env=sandbox.env("alice"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert str(path) in process.stdout.readline()
        assert is_mounted(path)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert not is_mounted(path)
    finally:
        process.kill()
        process.wait()
        subprocess.run(["fusermount3", "-uqz", str(path)], check=False)


def test_no_secret_is_in_the_log(sandbox: RunningSandbox, mount_as: MountAs) -> None:
    drive = mount_as("alice")
    (drive.data(PENGUINS) / "penguins.csv").read_bytes()
    assert drive.environ["PROVENAFS_TOKEN"] not in drive.log
    assert "Signature" not in drive.log


@pytest.mark.skipif(os.getuid() != 0, reason="hides /dev/fuse in a mount namespace of its own")
def test_without_the_kernel_module(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    hide = 'mount -t tmpfs none /dev && exec "$@"'
    provenafs = str(Path(sys.executable).parent / "provenafs")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, "sh", provenafs, "mount", tmp_path / "mount"],
        env=sandbox.env("alice"),
        capture_output=True,
        text=True,
        check=False,
    )
    _assert_one_sentence(done, "/dev/fuse", "modprobe")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PROVENAFS_TOKEN", "not-a-token", ("PROVENAFS_TOKEN", "new token")),
        ("PROVENAFS_DATASTORE_URL", "http://localhost.invalid:1", ("plain http",)),
        ("PROVENAFS_S3_ENDPOINT", "no address", ("PROVENAFS_S3_ENDPOINT",)),
    ],
)
def test_a_setting_that_cannot_be_right(
    sandbox: RunningSandbox, tmp_path: Path, variable: str, value: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "mount").mkdir()
    environ = sandbox.env("alice") | {variable: value}
    _assert_one_sentence(run_cli(environ, "mount", str(tmp_path / "mount")), *words)
