"""What the log of a mount says of a refused operation: which, where, and why."""

from __future__ import annotations

import os

import pytest

from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox

LOCKED = "10378.1/1451960"


def test_a_refusal_names_the_dataset_and_the_path(alice: Drive) -> None:
    for path in (alice.data(LOCKED) / "new", alice.dataset(LOCKED) / "notes.txt"):
        with pytest.raises(OSError):
            path.touch()
        shown = path.relative_to(alice.path)
        assert [line for line in alice.log.splitlines() if f"create of /{shown}: " in line]


def test_a_name_keeps_to_its_line(alice: Drive) -> None:
    with pytest.raises(OSError):
        (alice.path / "two\nlines").mkdir()
    assert r"mkdir of /two\nlines: datasets are not made with mkdir" in alice.log


def test_what_was_removed_is_named_as_it_was(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    """Another client replaces a file that is open, and bytes of the old version are missing."""
    drive = mount_as("alice", "--ttl", "0")
    client, key = sandbox.s3(), sandbox.prefix(handle) + "a/f"
    client.put_object(Bucket=sandbox.bucket, Key=key, Body=bytes(64 << 20))
    fd = os.open(drive.data(handle) / "a/f", os.O_RDONLY)
    try:
        client.delete_object(Bucket=sandbox.bucket, Key=key)
        assert not os.path.exists(drive.data(handle) / "a/f")
        with pytest.raises(OSError):
            os.pread(fd, 4096, 60 << 20)
    finally:
        os.close(fd)
    assert f"read of /{drive.data(handle).relative_to(drive.path)}/a/f (removed): " in drive.log
