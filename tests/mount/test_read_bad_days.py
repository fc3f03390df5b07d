"""Reading while S3 or the data store is in trouble: errors in time, no wrong byte."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faultproxy import (
    Fault,
    FaultProxy,
    Request,
    answer,
    cut,
    fault_proxy,
    s3_failure,
    stall,
    truncate,
)
from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox

LARGE = "10378.1/1451900"
STATIONS = "10378.1/1451890"
# Of a file operation, well above what --io-timeout allows.
BOUND_S = 30.0
LASTING = {
    "503": s3_failure("503 Slow Down", "SlowDown"),
    "500": s3_failure("500 Internal Server Error", "InternalError"),
    "cut": cut(),
    "truncated": truncate(1000),
    "stalled": stall(),
}


@pytest.fixture
def s3(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    with fault_proxy(sandbox.s3_endpoint) as proxy:
        yield proxy


@pytest.fixture
def api(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with fault_proxy(address) as proxy:
        yield proxy


def is_read(request: Request) -> bool:
    return request.is_read


def is_list(request: Request) -> bool:
    return request.is_list


def read_errno(path: Path) -> int | None:
    """How reading a file ends; None if it is read."""
    begun = time.monotonic()
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    finally:
        assert time.monotonic() - begun < BOUND_S
    return None


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_is_eio_in_time_and_passes(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, name: str
) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address, "--io-timeout", "2")
    path = large_file(drive)
    s3.fail(is_read, LASTING[name])
    assert read_errno(path) == errno.EIO
    assert os.listdir(drive.data(STATIONS))
    s3.heal()
    assert path.read_bytes() == original(sandbox, drive, path)


@pytest.mark.parametrize("name", [name for name in LASTING if name != "stalled"])
def test_a_passing_fault_is_not_noticed(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, name: str
) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    path = large_file(drive)
    s3.fail(is_read, LASTING[name], times=2)
    assert path.read_bytes() == original(sandbox, drive, path)


def test_throttled_read_ahead_does_not_hammer(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy
) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    path = large_file(drive)
    refused = 12
    with path.open("rb") as file:
        begin = file.read(8 * 1024 * 1024)
        before = s3.count(is_read)
        s3.fail(is_read, LASTING["503"], times=refused)
        rest = file.read()
    assert begin + rest == original(sandbox, drive, path)
    # Each refusal is repeated once at most, and what was refused ahead when it is needed.
    pieces = -(-path.stat().st_size // (1024 * 1024))
    assert s3.count(is_read) - before <= pieces + 2 * refused


@pytest.mark.parametrize("name", [name for name in LASTING if name != "stalled"])
def test_a_passing_fault_of_a_listing_is_not_noticed(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, name: str
) -> None:
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    s3.fail(is_list, LASTING[name], times=1)
    shown = set(os.listdir(drive.data(STATIONS)))
    assert shown == {path.split("/")[0] for path in sandbox.manifest[STATIONS]}
    assert s3.count(is_list) > 1


PAGES: dict[str, tuple[Fault, int]] = {
    "no XML": (answer("200 OK", b"<html>please log in</html>"), errno.EIO),
    "half a page": (answer("200 OK", b'<?xml version="1.0"?><ListBucketResult><Con'), errno.EIO),
    "503": (s3_failure("503 Slow Down", "SlowDown"), errno.EIO),
    "stalled": (stall(), errno.EIO),
    "skewed clock": (s3_failure("403 Forbidden", "RequestTimeTooSkewed"), errno.EIO),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_listing_that_fails_ends_in_time_and_passes(
    mount_as: MountAs, s3: FaultProxy, name: str
) -> None:
    fault, expected = PAGES[name]
    drive = mount_as("alice", "--s3-endpoint", s3.address, "--io-timeout", "2")
    s3.fail(is_list, fault)
    begun = time.monotonic()
    with pytest.raises(OSError) as caught:
        os.listdir(drive.data(LARGE))
    assert caught.value.errno == expected
    assert time.monotonic() - begun < BOUND_S
    if name == "skewed clock":
        assert "clock" in drive.log
    s3.heal()
    assert os.listdir(drive.data(LARGE))


def test_credentials_that_expire_while_reading_are_renewed_once(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, api: FaultProxy
) -> None:
    drive = mount_through(mount_as, sandbox, api, "--s3-endpoint", s3.address)
    path = large_file(drive)

    def is_keys(request: Request) -> bool:
        return "credentials/generate-read" in request.path

    def is_with_old_keys(request: Request) -> bool:
        return request.is_read and used in request.headers["authorization"]

    with path.open("rb", buffering=0) as file:
        beginning = file.read(1000)
        used = next(r for r in s3.requests if r.is_read).headers["authorization"].split("/")[0]
        assert api.count(is_keys) == 1
        s3.fail(is_with_old_keys, s3_failure("400 Bad Request", "ExpiredToken"))
        rest = file.read()
    while True:
        with path.open("rb", buffering=0) as file:
            file.seek(len(beginning) + len(rest))
            more = file.read()
        if not more:
            break
        rest += more
    assert beginning + rest == original(sandbox, drive, path)
    assert api.count(is_keys) == 2


def test_what_was_seen_is_readable_while_the_store_is_down(
    sandbox: RunningSandbox, mount_as: MountAs, api: FaultProxy
) -> None:
    drive = mount_through(mount_as, sandbox, api, "--ttl", "1", "--io-timeout", "2")
    path = large_file(drive)
    metadata = (drive.dataset(LARGE) / "metadata.json").read_bytes()
    api.fail(lambda request: True, s3_failure("503 Service Unavailable", "Down"))
    time.sleep(1.5)
    assert (drive.dataset(LARGE) / "metadata.json").read_bytes() == metadata
    assert path.read_bytes() == original(sandbox, drive, path)
    begun = time.monotonic()
    with pytest.raises(OSError) as caught:
        os.listdir(drive.data(STATIONS))
    assert caught.value.errno == errno.EIO
    assert time.monotonic() - begun < 2 * BOUND_S
    assert "503" in drive.log
    api.heal()
    assert drive.status()["user"] == "alice"
    assert len(os.listdir(drive.path / "by-name")) > 10


@pytest.mark.parametrize("cached", [True, False])
def test_handles_and_pages_never_mix_versions(
    sandbox: RunningSandbox, mount_as: MountAs, tmp_path: Path, cached: bool
) -> None:
    handle = sandbox.mint("alice", f"Replaced while read, {cached=}")
    s3, key = sandbox.s3(), sandbox.prefix(handle) + "file"
    size = 20_000_000
    s3.put_object(Bucket=sandbox.bucket, Key=key, Body=b"1" * size)
    no_folder = tmp_path / "no-folder"
    no_folder.touch()
    flags = () if cached else ("--cache-dir", str(no_folder / "cache"))
    drive = mount_as("alice", "--ttl", "1", *flags)
    path = drive.data(handle) / "file"
    with path.open("rb", buffering=0) as first, path.open("rb", buffering=0) as second:
        assert first.read(4096) == b"1" * 4096
        s3.put_object(Bucket=sandbox.bucket, Key=key, Body=b"2" * size)
        for file in (first, second):
            for position in range(0, size, 1_000_000):
                file.seek(position)
                try:
                    assert set(file.read(4096)) == set(b"1")
                except OSError as error:
                    assert error.errno == errno.ESTALE
        time.sleep(1.2)
        with path.open("rb") as third:
            assert set(third.read()) == set(b"2")
            assert os.fstat(third.fileno()).st_ino != os.fstat(first.fileno()).st_ino
        first.seek(0)
        try:
            assert set(first.read(4096)) == set(b"1")
        except OSError as error:
            assert error.errno == errno.ESTALE


def test_a_directory_that_changes_while_it_is_read(
    sandbox: RunningSandbox, mount_as: MountAs
) -> None:
    handle = sandbox.mint("alice", "Changed while listed")
    s3, prefix = sandbox.s3(), sandbox.prefix(handle)
    for number in range(0, 1500, 3):
        s3.put_object(Bucket=sandbox.bucket, Key=f"{prefix}d/{number:05}", Body=b"x")
    drive = mount_as("alice", "--ttl", "0")
    seen = []
    with os.scandir(drive.data(handle) / "d") as entries:
        for position, entry in enumerate(entries):
            seen.append(entry.name)
            if position in (10, 200):
                for number in range(1, 60, 3):
                    s3.put_object(
                        Bucket=sandbox.bucket, Key=f"{prefix}d/{number + position:05}x", Body=b"x"
                    )
                s3.delete_object(Bucket=sandbox.bucket, Key=f"{prefix}d/{3 * position:05}")
                assert os.listdir(drive.data(handle) / "d")
    stayed = {f"{number:05}" for number in range(0, 1500, 3)} - {"00030", "00600"}
    assert stayed <= set(seen)
    assert len(seen) == len(set(seen))


def mount_through(
    mount_as: MountAs, sandbox: RunningSandbox, api: FaultProxy, *flags: str
) -> Drive:
    """A mount of alice whose services are all behind the proxy."""
    address, _, _ = sandbox.running.datastore.rpartition("/")
    return mount_as("alice", *flags, services=(address, api.address))


def large_file(drive: Drive) -> Path:
    """A file of several blocks, looked up."""
    return max(
        (path for path in drive.data(LARGE).rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


def original(sandbox: RunningSandbox, drive: Drive, path: Path) -> bytes:
    """What the bucket holds."""
    key = sandbox.prefix(LARGE) + str(path.relative_to(drive.data(LARGE)))
    body: bytes = sandbox.s3().get_object(Bucket=sandbox.bucket, Key=key)["Body"].read()
    return body
