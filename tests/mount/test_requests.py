"""What looking and reading cost in requests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faultproxy import FaultProxy, fault_proxy
from tests.support.mounting import MountAs
from tests.support.running_sandbox import RunningSandbox

STATIONS = "10378.1/1451890"
LARGE = "10378.1/1451900"


@pytest.fixture
def s3(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    """The sandbox's S3 server, through a proxy."""
    with fault_proxy(sandbox.s3_endpoint) as proxy:
        yield proxy


def test_a_deep_look_costs_no_more_than_one_list_per_directory(
    mount_as: MountAs, s3: FaultProxy
) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    shown = subprocess.run(
        ["ls", "-lR", drive.data(STATIONS)], capture_output=True, text=True, check=True
    ).stdout
    files = sum(line.startswith("-") for line in shown.splitlines())
    directories = 1 + sum(line.startswith("d") for line in shown.splitlines())
    assert files == 5000
    assert 0 < s3.count(lambda request: request.is_list) <= directories
    assert s3.count(lambda request: request.method == "HEAD") <= 1  # the bucket's region
    assert s3.count(lambda request: request.is_read) == 0
    # ls asks for attributes of each file until it is told that there are none.
    assert drive.status()["operations"].get("getxattr", 0) < 200


def test_nothing_is_fetched_that_nobody_asked_for(mount_as: MountAs, s3: FaultProxy) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    path = next(path for path in drive.data(LARGE).rglob("*") if path.is_file())
    path.stat()
    os.close(os.open(path, os.O_RDONLY))
    assert s3.count(lambda request: request.is_read) == 0
    with path.open("rb", buffering=0) as file:
        file.seek(70_000_000)
        assert len(file.read(4096)) == 4096
    reads = [request for request in s3.requests if request.is_read]
    assert sum(map(_range_bytes, (request.headers["range"] for request in reads))) <= 1024 * 1024


def test_every_read_names_the_version_it_wants(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, tmp_path: Path
) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    subprocess.run(["cp", "-r", drive.data("10378.1/1451860"), tmp_path / "copy"], check=True)
    reads = [request for request in s3.requests if request.is_read]
    assert reads
    assert all(request.headers.get("if-match") for request in reads)


def _range_bytes(header: str) -> int:
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1
