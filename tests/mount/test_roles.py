"""Everybody sees what their roles allow and nothing else, on the mount and at S3 directly."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox, run_cli

PENGUINS = "10378.1/1451870"
RELEASED = "10378.1/1451940"
LOCKED = "10378.1/1451960"
METADATA_ONLY = "10378.1/1451970"
PRIVATE = "10378.1/1451990"
GROUP_ONLY = "10378.1/1452010"
ANOTHER_UID = 12345

# What a process may do with a dataset, tried in this order; prints one errno (0: it may) per line.
_PROBE = """
import os, sys
data = sys.argv[1]
def attempt(call):
    try:
        call()
    except OSError as error:
        print(error.errno)
    else:
        print(0)
def first():
    return next((e.path for e in os.scandir(data) if e.is_file()), os.path.join(data, "any"))
def read_first():
    with open(first(), "rb") as file:
        file.read(1)
attempt(lambda: os.listdir(data))
attempt(read_first)
attempt(lambda: open(os.path.join(data, "new.txt"), "x"))
attempt(lambda: os.mkdir(os.path.join(data, "new")))
attempt(lambda: os.unlink(first()))
"""


def _probe(data: Path, uid: int | None) -> list[int]:
    prefix = (
        [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    )
    python = "/usr/bin/python3" if uid is not None else sys.executable
    done = subprocess.run(
        [*prefix, python, "-c", _PROBE, str(data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("uid", [None, ANOTHER_UID], ids=["root", "another uid"])
@pytest.mark.parametrize(
    ("handle", "reading", "writing"),
    [
        (PENGUINS, 0, errno.EACCES),
        (RELEASED, 0, errno.EACCES),
        (METADATA_ONLY, errno.EACCES, errno.EACCES),
        (GROUP_ONLY, 0, errno.EACCES),
    ],
)
def test_bob_reads_what_he_may_and_writes_nothing(
    bob: Drive, handle: str, reading: int, writing: int, uid: int | None
) -> None:
    assert _probe(bob.data(handle), uid) == [reading] * 2 + [writing] * 3


@pytest.mark.parametrize("uid", [None, ANOTHER_UID], ids=["root", "another uid"])
@pytest.mark.parametrize(("handle", "writing"), [(RELEASED, errno.EROFS), (LOCKED, errno.EACCES)])
def test_alice_cannot_write_what_is_released_or_locked(
    alice: Drive, handle: str, writing: int, uid: int | None
) -> None:
    """Other local users learn from the modes alone that they may not."""
    refusal = writing if uid is None else errno.EACCES
    assert _probe(alice.data(handle), uid) == [0, 0, refusal, refusal, refusal]


def test_a_hidden_dataset_is_refused_by_name_too(bob: Drive) -> None:
    assert PRIVATE.replace("/", "-") not in os.listdir(bob.path)
    with pytest.raises(PermissionError):
        os.stat(bob.dataset(PRIVATE))


def test_an_unlisted_dataset_that_may_be_fetched_is_found_by_name(
    sandbox: RunningSandbox, bob: Drive
) -> None:
    """The list has just been read; what is minted now is found all the same."""
    os.listdir(bob.path)
    handle = sandbox.mint("alice", "Minted behind the mount")
    assert (bob.dataset(handle) / "metadata.json").exists()


def test_dave_is_told_that_he_may_not_use_the_store(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    done = run_cli(sandbox.env("dave"), "mount", "--cache-dir", str(tmp_path / "c"),
                   "--state-dir", str(tmp_path / "s"), str(_directory(tmp_path)))  # fmt: skip
    assert done.returncode == 5
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def _directory(tmp_path: Path) -> Path:
    path = tmp_path / "mount"
    path.mkdir()
    return path


def test_carol_sees_her_own(sandbox: RunningSandbox, mount_as: MountAs) -> None:
    carol = mount_as("carol")
    assert "10378.1-1452000" in os.listdir(carol.path)


def test_credentials_reach_no_further_than_the_mount(sandbox: RunningSandbox) -> None:
    reader = sandbox.s3_as("bob", PENGUINS)
    key = f"{sandbox.prefix(PENGUINS)}penguins.csv"
    assert reader.get_object(Bucket=sandbox.bucket, Key=key)["Body"].read(10)
    for attempt in (
        lambda: reader.put_object(Bucket=sandbox.bucket, Key=key, Body=b""),
        lambda: reader.get_object(
            Bucket=sandbox.bucket, Key=f"{sandbox.prefix(RELEASED)}metadata.json"
        ),
    ):
        with pytest.raises(ClientError) as refused:
            attempt()
        assert refused.value.response["Error"]["Code"] == "AccessDenied"
    for user, handle in (("bob", METADATA_ONLY), ("bob", PRIVATE), ("dave", PENGUINS)):
        with pytest.raises(Exception, match="401"):
            sandbox.s3_as(user, handle)


def test_a_role_on_the_dataset_without_that_of_the_realm_writes_nothing(
    sandbox: RunningSandbox, bob: Drive, handle: str
) -> None:
    """bob may write by the dataset's settings, but his token has no entity-registry-write."""
    settings = {
        "owner": "alice",
        "general": ["metadata-read", "metadata-write", "dataset-data-read", "dataset-data-write"],
        "groups": {},
    }
    url = f"{sandbox.running.registry}/registry/entity/dataset/auth/configuration"
    sandbox.api("alice", "PUT", url, params={"id": handle}, json=settings).raise_for_status()
    data = bob.data(handle)
    assert stat.S_IMODE(data.stat().st_mode) == 0o555
    with pytest.raises(PermissionError):
        (data / "new.txt").open("wb")
    with pytest.raises(PermissionError):
        (bob.dataset(handle) / "metadata.json").open("r+b")
    why = os.getxattr(bob.dataset(handle), "user.provena.why_readonly").decode()
    assert "your user lacks the role entity-registry-write" in why
    told = (bob.dataset(handle) / ".provena/last-error.txt").read_text()
    assert "entity-registry-write" in told
