"""Writing on a mount while S3 stalls or the local disk is full: nothing hangs, nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faultproxy import FaultProxy, Request, fault_proxy, s3_failure, stall
from tests.support.mounting import MountAs
from tests.support.running_sandbox import RunningSandbox, run_cli

WAITING = 200


@pytest.fixture
def s3(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    with fault_proxy(sandbox.s3_endpoint) as proxy:
        yield proxy


def is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST")


def test_others_are_served_while_closes_wait(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy
) -> None:
    handle = sandbox.mint("alice", "Closes that wait")
    drive = mount_as("alice", "--s3-endpoint", s3.address, "--io-timeout", "12")
    data = drive.data(handle)
    os.listdir(data)
    (data / "before").write_bytes(b"before")
    s3.fail(is_write, stall())
    ends: list[int | None] = []

    def write(number: int) -> None:
        try:
            (data / f"{number}").write_bytes(b"x" * 1000)
        except OSError as error:
            ends.append(error.errno)
        else:
            ends.append(None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WAITING)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(drive_pending(drive.path)) < WAITING and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(drive_pending(drive.path)) == WAITING
    begun = time.monotonic()
    (data / "before").stat()
    assert len(os.listdir(data)) == WAITING + 1
    assert (data / "before").read_bytes() == b"before"
    assert (drive.dataset("10378.1/1451870") / "metadata.json").read_bytes()
    drive.status()
    # All of it at once, which is not a matter of speed: the closes wait for 12 s.
    assert time.monotonic() - begun < 6
    assert ends == []
    for thread in threads:
        thread.join(60)
    assert ends == [errno.EIO] * WAITING
    s3.heal()
    listed = run_cli(drive.environ, "recover", "list", "--state-dir", str(drive.home / "state"))
    assert len(listed.stdout.splitlines()) == WAITING


def test_a_forced_unmount_leaves_the_rest_to_the_next_mount(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy
) -> None:
    handle = sandbox.mint("alice", "Unmounted by force")
    drive = mount_as("alice", "--s3-endpoint", s3.address, "--writeback")
    data = drive.data(handle)
    os.listdir(data)
    s3.fail(is_write, stall())
    for number in range(5):
        (data / f"{number}").write_bytes(b"acknowledged")
    done = run_cli(drive.environ, "umount", "--force", str(drive.path))
    assert done.returncode == 0, done.stderr
    s3.heal()
    again = run_cli(
        drive.environ, "mount", "--cache-dir", str(drive.home / "cache"), "--state-dir",
        str(drive.home / "state"), str(drive.path),
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    client, prefix = sandbox.s3(), sandbox.prefix(handle)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = client.list_objects_v2(Bucket=sandbox.bucket, Prefix=prefix)
        keys = {item["Key"].removeprefix(prefix) for item in found["Contents"]}
        if keys == {"metadata.json", *map(str, range(5))}:
            break
        time.sleep(0.2)
    assert keys == {"metadata.json", *map(str, range(5))}


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
def test_a_full_staging_disk_is_told_and_the_mount_lives_on(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], check=True)
    try:
        handle = sandbox.mint("alice", "A full disk")
        state = ("--state-dir", str(disk / "state"))
        drive = mount_as("alice", *state, "--s3-endpoint", s3.address, "--io-timeout", "2")
        data = drive.data(handle)
        (data / "small").write_bytes(b"small")
        # Nothing can be sent to make room.
        s3.fail(is_write, s3_failure("503 Slow Down", "SlowDown"))
        with pytest.raises(OSError) as caught, (data / "random").open("wb", buffering=0) as file:
            for position in range(40):
                os.pwrite(file.fileno(), b"x" * 1_000_000, position * 1_000_000)
        assert caught.value.errno in (errno.ENOSPC, errno.EIO)  # no room, or no way to make some
        assert (data / "small").read_bytes() == b"small"
        s3.heal()
        listed = run_cli(drive.environ, "recover", "list", "--json", *state)
        assert listed.returncode == 0, listed.stderr
        (kept,) = json.loads(listed.stdout)
        assert kept["key"].endswith("/random")
        discarded = run_cli(drive.environ, "recover", "discard", kept["id"], "--yes", *state)
        assert discarded.returncode == 0, discarded.stderr
        (data / "after").write_bytes(b"after")
        assert (data / "after").read_bytes() == b"after"
        run_cli(drive.environ, "umount", str(drive.path))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_keys_that_expire_while_a_large_file_is_sent_are_renewed(
    sandbox: RunningSandbox, mount_as: MountAs, s3: FaultProxy
) -> None:
    handle = sandbox.mint("alice", "Keys that expire")
    drive = mount_as("alice", "--s3-endpoint", s3.address)
    content = os.urandom(1024) * 40 * 1024

    def is_with_old_keys(request: Request) -> bool:
        return "partNumber" in request.query and used in request.headers["authorization"]

    with (drive.data(handle) / "large").open("wb", buffering=0) as file:
        file.write(content[: 20 * 1024 * 1024])
        deadline = time.monotonic() + 20
        while not (parts := [r for r in s3.requests if "partNumber" in r.query]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        used = parts[0].headers["authorization"].split("/")[0]
        s3.fail(is_with_old_keys, s3_failure("400 Bad Request", "ExpiredToken"))
        for position in range(20 * 1024 * 1024, len(content), 1024 * 1024):
            file.write(content[position : position + 1024 * 1024])
    stored = sandbox.s3().get_object(Bucket=sandbox.bucket, Key=sandbox.prefix(handle) + "large")
    assert stored["Body"].read() == content


def drive_pending(path: Path) -> list[str]:
    """Names of what is not stored yet."""
    return [item["key"] for item in json.loads((path / ".provenafs/pending.json").read_bytes())]
