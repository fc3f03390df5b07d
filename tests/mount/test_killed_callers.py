"""Processes that are killed while they wait for a close."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faultproxy import FaultProxy, fault_proxy, stall
from tests.support.mounting import Drive, mounted, wait_until
from tests.support.running_sandbox import RunningSandbox

# Closes a file it has written; or ends, and leaves that to the kernel.
_CLOSES = "import sys; f = open(sys.argv[1], 'wb'); f.write(b'x'); f.close()"
_WRITES_ON = "import os, sys, time; f = os.open(sys.argv[1], 65); os.write(f, b'x'); time.sleep(99)"


@pytest.fixture(scope="module")
def s3(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    with fault_proxy(sandbox.s3_endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def drive(sandbox: RunningSandbox, s3: FaultProxy, shared_folder: Path) -> Iterator[Drive]:
    with mounted(sandbox, "alice", shared_folder / "killed", "--s3-endpoint", s3.address) as drive:
        yield drive


@pytest.mark.parametrize(
    ("program", "with_signal"),
    [(_CLOSES, signal.SIGINT), (_CLOSES, signal.SIGKILL), (_WRITES_ON, signal.SIGTERM)],
)
def test_a_killed_process_ends_and_its_file_is_stored(
    sandbox: RunningSandbox,
    drive: Drive,
    s3: FaultProxy,
    handle: str,
    program: str,
    with_signal: signal.Signals,
) -> None:
    s3.fail(lambda request: request.method == "PUT", stall())
    path = drive.data(handle) / "f"
    with subprocess.Popen([sys.executable, "-c", program, path], stderr=subprocess.PIPE) as writer:
        wait_until(lambda: path.exists() and path.stat().st_size == 1)
        if program is _CLOSES:
            wait_until(lambda: s3.count(lambda request: request.method == "PUT") > 0)
        writer.send_signal(with_signal)
        assert writer.wait(20) == -with_signal
    s3.heal()
    key = sandbox.prefix(handle) + "f"
    where = {"Bucket": sandbox.bucket, "Prefix": key}
    wait_until(lambda: sandbox.s3().list_objects_v2(**where).get("KeyCount") == 1)
    assert path.read_bytes() == b"x"
