"""Signals to a mount, a terminal that is closed, and mount points reached through links."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.faultproxy import fault_proxy, stall
from tests.support.mounting import Drive, MountAs, has_ended, is_mounted, wait_until
from tests.support.running_sandbox import RunningSandbox, run_cli

OCEAN = "10378.1/1451860"


def _log(drive: Drive) -> Path:
    return next((drive.home / "state/log").glob("*.log"))


def test_a_hangup_reopens_the_log_and_reads_the_settings_again(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    log = _log(drive)
    moved = log.rename(log.with_name("moved.1"))
    os.kill(drive.pid, signal.SIGHUP)
    wait_until(lambda: log.exists() and "settings read again" in log.read_text())
    assert "mounted at" in moved.read_text()
    assert os.listdir(drive.data(OCEAN))


def test_a_usr1_switches_debug_lines(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    for level in ("DEBUG", "INFO"):
        os.kill(drive.pid, signal.SIGUSR1)
        wait_until(lambda level=level: f"the log level is {level}" in drive.log)  # type: ignore[misc]
    assert os.listdir(drive.path)


def test_each_line_names_process_and_mount(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    assert f"[{drive.pid} {drive.path}]" in drive.log


def test_a_closed_terminal_unmounts(sandbox: RunningSandbox, tmp_path: Path) -> None:
    path = tmp_path / "mount"
    path.mkdir()
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("provenafs"), "mount", "--foreground",
         "--cache-dir", tmp_path / "cache", "--state-dir", tmp_path / "state", path],
        env=os.environ | sandbox.env("alice"),
        stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )  # fmt: skip
    try:
        os.close(terminal)
        wait_until(lambda: is_mounted(path))
        wait_until(lambda: b"mounted at" in os.read(ours, 4096))
        (path / OCEAN.replace("/", "-") / "data/kept.txt").write_text("kept\n")
        os.close(ours)
        assert process.wait(30) == 0
        assert not is_mounted(path)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def stopped(mount_as: MountAs) -> Drive:
    """A mount whose process is stopped."""
    drive = mount_as("alice")
    os.kill(drive.pid, signal.SIGSTOP)
    return drive


def test_a_stopped_mount_is_named_and_holds_up_nobody(stopped: Drive, mount_as: MountAs) -> None:
    other = mount_as("bob")
    pid = _server(stopped)
    try:
        began = time.monotonic()
        entries = json.loads(run_cli(stopped.environ, "status", "--json").stdout)
        assert time.monotonic() - began < 10  # a deadline, not a speed
        states = {entry["mountpoint"]: entry for entry in entries}
        assert states[str(stopped.path)]["stuck"]
        assert states[str(stopped.path)]["stopped"]
        assert states[str(other.path)]["user"]
        shown = run_cli(stopped.environ, "status").stdout
        assert f"kill -CONT {pid}" in shown
        refused = run_cli(stopped.environ, "umount", str(stopped.path))
        assert refused.returncode == 1
        assert f"kill -CONT {pid}" in refused.stderr
        assert is_mounted(stopped.path)
        synced = run_cli(stopped.environ, "sync", str(stopped.path))
        assert synced.returncode == 1
        assert "does not answer" in synced.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: bool(os.listdir(stopped.path)))


def test_a_stopped_mount_ends_by_force(stopped: Drive) -> None:
    pid = _server(stopped)
    done = run_cli(stopped.environ, "umount", "--force", str(stopped.path))
    assert done.returncode == 0, done.stderr
    assert has_ended(pid)
    assert not is_mounted(stopped.path)


def _server(drive: Drive) -> int:
    """The process of a mount that cannot be asked."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_of(entry, drive):
            return int(entry.name)
    raise AssertionError("no process serves the mount")


def _is_of(process: Path, drive: Drive) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return bytes(drive.path) in words and b"mount" in words
    except OSError:
        return False


def test_who_keeps_a_mount_busy_is_named(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    with subprocess.Popen(["sleep", "60"], cwd=drive.path) as sleeper:
        try:
            done = run_cli(drive.environ, "umount", str(drive.path))
        finally:
            sleeper.kill()
    assert done.returncode == 1
    assert f"sleep (process {sleeper.pid})" in done.stderr
    assert run_cli(drive.environ, "umount", str(drive.path)).returncode == 0


def test_links_lead_to_a_mount(sandbox: RunningSandbox, mount_as: MountAs, tmp_path: Path) -> None:
    drive = mount_as("alice")
    link = tmp_path / "link"
    link.symlink_to(drive.path)
    dataset = OCEAN.replace("/", "-")
    for arguments in (("sync", str(link)), ("cache", "stat", str(link / dataset / "data"))):
        done = run_cli(drive.environ, *arguments)
        assert done.returncode == 0, done.stderr
    os.kill(drive.pid, signal.SIGKILL)
    again = run_cli(
        drive.environ, "mount", "--cache-dir", str(drive.home / "cache"),
        "--state-dir", str(drive.home / "state"), str(link),
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert os.listdir(drive.data(OCEAN))
    done = run_cli(drive.environ, "umount", str(link))
    assert done.returncode == 0, done.stderr
    assert not is_mounted(drive.path)


def test_what_cannot_be_stored_does_not_keep_a_mount(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    with fault_proxy(sandbox.s3_endpoint) as s3:
        drive = mount_as("alice", "--writeback", "--s3-endpoint", s3.address)
        s3.fail(lambda request: request.method == "PUT", stall())
        (drive.data(handle) / "written.txt").write_text("kept\n")
        pid = drive.pid
        done = run_cli(drive.environ, "umount", "--wait", "1", str(drive.path))
    assert done.returncode == 1
    assert "is unmounted, but not everything was stored in time" in done.stderr
    assert has_ended(pid)
    state = {"PROVENAFS_STATE_DIR": str(drive.home / "state")}
    assert "written.txt" in run_cli(drive.environ | state, "recover", "list").stdout


def test_signals_that_mean_nothing_do_not_end_what_is_still_stored(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    with fault_proxy(sandbox.s3_endpoint) as s3:
        drive = mount_as("alice", "--writeback", "--s3-endpoint", s3.address)
        s3.fail(lambda request: request.method == "PUT", stall())
        (drive.data(handle) / "written.txt").write_text("kept\n")
        pid = drive.pid
        subprocess.run(["fusermount3", "-u", "--", drive.path], check=True)
        wait_until(lambda: not is_mounted(drive.path))
        time.sleep(0.5)  # the session ends, and the process only stores by then
        for number in (signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
        time.sleep(0.5)
        assert not has_ended(pid)
        s3.heal()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: has_ended(pid))
        assert "what is not stored yet is left" in drive.log


def test_a_program_elsewhere_with_such_a_path_does_not_keep_a_mount(mount_as: MountAs) -> None:
    """In a mount namespace of its own the same path is another directory."""
    drive = mount_as("alice")
    hidden = f"umount -l {drive.path}; cd {drive.path}; echo ready; exec sleep 60"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", hidden], stdout=subprocess.PIPE, text=True
    ) as sleeper:
        try:
            assert sleeper.stdout is not None
            assert sleeper.stdout.readline() == "ready\n"
            done = run_cli(drive.environ, "umount", str(drive.path))
        finally:
            sleeper.kill()
    assert done.returncode == 0, done.stderr
    assert not is_mounted(drive.path)
