"""Mounts killed at any moment: what was acknowledged is stored, and nothing half-written is."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.faultproxy import Hold, fault_proxy, only_whole
from tests.support.moto_bucket import client, make_bucket, moto
from tests.support.mounting import Drive, has_ended, mounted
from tests.support.running_sandbox import RunningSandbox, run_cli
from tests.support.soaking import times

_WRITER = Path(__file__).with_name("manifest_writer.py")
_LONGEST_S = 2.5  # until a mount is killed
_RECOVERED_IN_S = 60.0
_MOST_BEHIND = 9 * 1024**2  # bytes, as docs/semantics.md says
_CUT_OFF = (errno.ENOTCONN, errno.ECONNABORTED)


@pytest.fixture(scope="module")
def moto_server(sandbox: RunningSandbox) -> Iterator[str]:
    with moto() as address, fault_proxy(address) as proxy:
        make_bucket(address, sandbox.bucket)
        proxy.fail(lambda request: request.method in ("PUT", "POST"), only_whole())
        yield proxy.address


@pytest.mark.parametrize("flags", [(), ("--writeback",)], ids=["default", "writeback"])
def test_what_was_acknowledged_outlives_the_mount(
    sandbox: RunningSandbox, moto_server: str, handle: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    chance = random.Random(f"{flags}")
    # moto gives a copy of a multipart object that one's checksum of checksums: SHA-256 has to do.
    s3 = client(moto_server, response_checksum_validation="when_required")
    bucket = _Bucket(s3, sandbox.bucket, sandbox.prefix(handle))
    manifest = _Manifest()
    flags = ("--s3-endpoint", moto_server, *flags)
    for number in range(times(4)):
        with mounted(sandbox, "alice", tmp_path, *flags) as drive:
            _wait_until_nothing_is_owed(drive, tmp_path)
            _wait_until_right(manifest, bucket)
            lines = tmp_path / f"manifest-{number}"
            _write_until_killed(drive, drive.data(handle), lines, chance.uniform(0.1, _LONGEST_S))
            manifest.add(lines)
    with mounted(sandbox, "alice", tmp_path, *flags) as drive:
        _wait_until_nothing_is_owed(drive, tmp_path)
        _wait_until_right(manifest, bucket)
        pending = drive.path / ".provenafs/pending.json"
        assert json.loads(pending.read_bytes()) == []
    assert manifest.acknowledged > 0


def test_of_a_large_file_under_way_recovery_has_all_but_the_last_megabytes(
    sandbox: RunningSandbox, handle: str, tmp_path: Path
) -> None:
    piece = 1_000_000  # bytes: pieces do not end where parts or pages do
    contents = random.Random(1).randbytes(45 * piece)
    with mounted(sandbox, "alice", tmp_path) as drive:
        file = (drive.data(handle) / "large").open("wb", buffering=0)
        for start in range(0, len(contents), piece):
            file.write(contents[start : start + piece])
        os.kill(drive.pid, signal.SIGKILL)
        with pytest.raises(OSError):
            file.close()
    with mounted(sandbox, "alice", tmp_path) as drive:
        assert not (drive.data(handle) / "large").exists()
        (item,) = _recoverable(drive, tmp_path)
        assert item["state"] == "open"
        state = ("--state-dir", str(tmp_path / "state"))
        exported = run_cli(
            drive.environ, "recover", "export", item["id"], "--as", str(tmp_path / "out"), *state
        )
        assert exported.returncode == 0, exported.stderr
        found = (tmp_path / "out").read_bytes()
        assert len(found) >= len(contents) - _MOST_BEHIND
        assert found == contents[: len(found)]
        assert (
            run_cli(drive.environ, "recover", "discard", item["id"], "--yes", *state).returncode
            == 0
        )


def test_a_rename_that_is_killed_is_ended_or_shown(
    sandbox: RunningSandbox, handle: str, tmp_path: Path
) -> None:
    prefix, bucket = sandbox.prefix(handle), sandbox.bucket
    with moto() as address, fault_proxy(address) as proxy:
        s3, hold = make_bucket(address, bucket), Hold()
        for name in ("d/a", "d/b"):
            s3.put_object(Bucket=bucket, Key=prefix + name, Body=name.encode())
        proxy.fail(lambda request: request.method == "DELETE", hold)
        flags = ("--s3-endpoint", proxy.address)
        with mounted(sandbox, "alice", tmp_path, *flags) as drive:
            data = drive.data(handle)
            command = ["mv", str(data / "d"), str(data / "e")]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as mover:
                assert hold.reached.wait(30)
                os.kill(drive.pid, signal.SIGKILL)
                assert mover.wait(30) != 0
        proxy.heal()
        theirs = {"e/a": b"else", "d/later": b"later"}  # since: one over a copy
        for name, body in theirs.items():
            s3.put_object(Bucket=bucket, Key=prefix + name, Body=body)
        with mounted(sandbox, "alice", tmp_path, *flags) as drive:
            _wait_until_nothing_is_owed(drive, tmp_path)
            assert sorted(os.listdir(drive.data(handle) / "d")) == ["a", "later"]
            assert (drive.data(handle) / "e/b").read_bytes() == b"d/b"
            state = ("--state-dir", str(tmp_path / "state"))
            listed = run_cli(drive.environ, "recover", "list", *state).stdout
            assert f"{prefix}d/  unfinished rename to {prefix}e/" in listed
            assert f"other files have taken the place of {prefix}e/a" in listed


def _write_until_killed(drive: Drive, data: Path, manifest: Path, seconds: float) -> None:
    pid = drive.pid
    writer = subprocess.Popen([sys.executable, _WRITER, data, manifest, manifest.name])
    try:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        assert writer.wait(30) == 0
        assert has_ended(pid)
    finally:
        writer.kill()
        writer.wait()


class _Bucket:
    """What is stored, seen without a mount."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, prefix

    def sums(self) -> dict[str, str]:
        """The SHA-256 of each object, by path."""
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix)
        keys = [one["Key"] for one in found.get("Contents", []) if one["Key"][-1] != "/"]
        return {key.removeprefix(self._prefix): self._sum(key) for key in keys}

    def _sum(self, key: str) -> str:
        body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return hashlib.sha256(body).hexdigest()


class _Manifest:
    """What every path may hold by what was acknowledged, and by what was under way at a kill."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self._may_hold: dict[str, set[str | None]] = {}
        self._moved: dict[str, str | None] = {}

    def add(self, path: Path) -> None:
        """What one writer has noted; its changes start from nothing that is under way."""
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines, "the writer has not begun"
        assert lines[-1].get("failed") in _CUT_OFF, os.strerror(lines[-1].get("failed", 0))
        for line in lines[:-1]:
            self._moved = {}
            if line["done"]:
                self.acknowledged += 1
                self._may_hold |= {name: {made} for name, made in line["makes"].items()}
                continue
            for name, made in line["makes"].items():
                self._may_hold.setdefault(name, {None}).add(made)
            if len(line["makes"]) == 2:
                self._moved = line["makes"]

    def faults(self, stored: dict[str, str]) -> list[str]:
        """What is stored and should not be, or is missing."""
        faults = [
            f"{name} holds {stored.get(name)}, not one of {may_hold}"
            for name, may_hold in self._may_hold.items()
            if stored.get(name) not in may_hold
        ]
        faults += [f"nobody made {name}" for name in stored.keys() - self._may_hold.keys()]
        for made in filter(None, self._moved.values()):
            if made not in [stored.get(name) for name in self._moved]:
                faults.append(f"lost in a rename: {self._moved}")
        return faults

    def settle(self, stored: dict[str, str]) -> None:
        """What a kill has left open is decided now."""
        self._may_hold = {name: {stored.get(name)} for name in self._may_hold}
        self._moved = {}


def _wait_until_right(manifest: _Manifest, bucket: _Bucket) -> None:
    """A mount stores behind what an earlier one had acknowledged."""
    deadline = time.monotonic() + _RECOVERED_IN_S
    while manifest.faults(bucket.sums()) and time.monotonic() < deadline:
        time.sleep(0.1)
    stored = bucket.sums()
    assert manifest.faults(stored) == []
    manifest.settle(stored)


def _wait_until_nothing_is_owed(drive: Drive, home: Path) -> None:
    """What stays for people to decide about was never acknowledged.

    A close that was under way at the kill may be owed as well, and is stored later.
    """
    deadline = time.monotonic() + _RECOVERED_IN_S
    while owed := [item for item in _recoverable(drive, home) if item["state"] == "closed"]:
        assert time.monotonic() < deadline, (owed, drive.log)


def _recoverable(drive: Drive, home: Path) -> list[dict[str, Any]]:
    found = run_cli(drive.environ, "recover", "list", "--json", "--state-dir", str(home / "state"))
    assert found.returncode == 0, found.stderr
    items: list[dict[str, Any]] = json.loads(found.stdout)
    return items
