"""The block cache as a user sees it: warm, pin, unpin, evict, stat."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faultproxy import FaultProxy, cut, fault_proxy
from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox, run_cli

OCEAN = "10378.1/1451860"
LARGE = "10378.1/1451900"


@pytest.fixture
def s3(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    with fault_proxy(sandbox.s3_endpoint) as proxy:
        yield proxy


@pytest.fixture
def api(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with fault_proxy(address) as proxy:
        yield proxy


def cache(drive: Drive, *arguments: str) -> str:
    """Run a `provenafs cache` verb."""
    done = run_cli(drive.environ, "cache", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stat(drive: Drive, path: Path) -> dict[str, int]:
    """What is local."""
    row: dict[str, int]
    (row,) = json.loads(cache(drive, "stat", "--json", str(path)))
    return row


def checksums(folder: Path) -> dict[str, str]:
    """The content of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files_are_warmed_and_evicted(mount_as: MountAs, s3: FaultProxy) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    data = drive.data(OCEAN)
    assert stat(drive, data)["cached"] == 0
    said = cache(drive, "warm", str(data))
    assert re.fullmatch(r"\d+ files of [\d.]+ \w+ fetched\.\n", said)
    told = stat(drive, data)
    assert told["cached"] == told["size"] > 0
    reads = s3.count(lambda request: request.is_read)
    cache(drive, "warm", str(data))
    assert s3.count(lambda request: request.is_read) == reads
    cache(drive, "evict", str(data))
    assert stat(drive, data)["cached"] == 0


def test_a_single_file_is_warmed_pinned_and_evicted(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    file = next(path for path in drive.data(OCEAN).rglob("*") if path.is_file())
    size = file.stat().st_size
    for verb, cached, pinned in (
        ("warm", size, 0),
        ("pin", size, 1),
        ("unpin", size, 0),
        ("evict", 0, 0),
    ):
        cache(drive, verb, str(file))
        told = stat(drive, file)
        assert (told["files"], told["cached"], told["pinned"]) == (1, cached, pinned), verb


def test_a_pinned_dataset_is_read_with_the_network_cut(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, api: FaultProxy
) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    drive = mount_as(
        "alice", "--ttl", "1", "--io-timeout", "2", "--s3-endpoint", s3.address,
        services=(address, api.address),
    )  # fmt: skip
    dataset = drive.dataset(OCEAN)
    expected = {
        name: seen["sha256"]
        for name, seen in sandbox.manifest[OCEAN].items()
        if not name.endswith("/")
    }
    cache(drive, "pin", str(dataset))
    assert stat(drive, dataset)["pinned"] == len(expected)
    for proxy in (s3, api):
        proxy.fail(lambda request: True, cut())
    time.sleep(1.2)
    if os.getuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    assert checksums(dataset / "data") == expected
    assert json.loads((dataset / "metadata.json").read_bytes())["dataset_info"]
    listed = subprocess.run(["ls", "-lR", dataset], capture_output=True, check=True)
    assert b"metadata.json" in listed.stdout


def test_evicting_makes_room_for_others_but_not_of_what_is_pinned(mount_as: MountAs) -> None:
    drive = mount_as("alice", "--cache-size", "60MiB")
    pinned = drive.data(OCEAN)
    cache(drive, "pin", str(pinned))
    before = stat(drive, pinned)
    checksums(drive.data(LARGE))
    assert 0 < stat(drive, drive.data(LARGE))["cached"] < 60 * 1024 * 1024
    assert stat(drive, pinned) == before
    cache(drive, "unpin", str(pinned))
    assert stat(drive, pinned)["pinned"] == 0


@pytest.mark.parametrize("how", ["evict", "delete", "truncate"])
def test_bytes_stay_right_whatever_becomes_of_the_cache(mount_as: MountAs, how: str) -> None:
    drive = mount_as("alice")
    files = [path for path in drive.data(LARGE).rglob("*") if path.is_file()]
    file = max(files, key=lambda path: path.stat().st_size)
    cache(drive, "warm", str(file))
    expected = file.read_bytes()
    assert stat(drive, file)["cached"] == len(expected)
    draw = random.Random(7)
    with file.open("rb") as opened:
        for number in range(600):
            if number % 200 == 100:
                _spoil(drive, file, how)
            place = draw.randrange(len(expected))
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(opened.fileno(), 4096, place) == expected[place : place + 4096]
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert opened.read() == expected


def _spoil(drive: Drive, file: Path, how: str) -> None:
    if how == "evict":
        cache(drive, "evict", str(file))
    for path in (drive.home / "cache").rglob("blocks/*/*/*"):
        if how == "delete":
            path.unlink()
        elif how == "truncate":
            os.truncate(path, path.stat().st_size // 2)


def test_what_is_in_no_mount_is_told(sandbox: RunningSandbox, tmp_path: Path) -> None:
    done = run_cli(sandbox.environ, "cache", "warm", str(tmp_path))
    assert done.returncode == 1
    assert "not in a provenafs mount" in done.stderr
