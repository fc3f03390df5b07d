"""A mount that ends while the kernel waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.faultproxy import Request, fault_proxy, stall
from tests.support.mounting import MountAs, has_ended, is_mounted, wait_until
from tests.support.running_sandbox import RunningSandbox, run_cli


def is_read(request: Request) -> bool:
    return request.is_read


def is_stuck(pid: int) -> bool:
    """Whether a thread of a process waits in the kernel where no signal wakes it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            state = (task / "stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            continue
        if state == "D":
            return True
    return False


@pytest.mark.parametrize("way", ["signal", "umount --force"])
def test_a_thread_stuck_in_the_kernel_does_not_keep_a_mount(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str, way: str
) -> None:
    """A reader waits for bytes; what has become of its file can only be told to it afterwards."""
    key = sandbox.prefix(handle) + "f"
    other_user = sandbox.s3()
    other_user.put_object(Bucket=sandbox.bucket, Key=key, Body=b"x" * 4096)
    with fault_proxy(sandbox.s3_endpoint) as s3:
        drive = mount_as(
            "alice", "--s3-endpoint", s3.address, "--ttl", "0.5", "--io-timeout", "300"
        )
        pid, path = drive.pid, drive.data(handle) / "f"
        assert path.stat().st_size == 4096
        s3.fail(is_read, stall())
        reader = subprocess.Popen(
            ["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: s3.count(is_read) > 0)
            other_user.put_object(Bucket=sandbox.bucket, Key=key, Body=b"y" * 5000)
            wait_until(lambda: os.listdir(path.parent) == ["f"] and is_stuck(pid))
            if way == "signal":
                os.kill(pid, signal.SIGTERM)
                time.sleep(0.2)
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: has_ended(pid))
            else:
                done = run_cli(drive.environ, "umount", "--force", str(drive.path))
                assert done.returncode == 0, done.stderr
                assert has_ended(pid)
            assert not is_mounted(drive.path), drive.log
            assert reader.wait(10) != 0
        finally:
            reader.kill()
            reader.wait()
