"""version: making the next version of a dataset, and copying the files into it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.broken_versions import mint_unversionable
from tests.support.faultproxy import FaultProxy, answer, fault_proxy, lose_answer, stall
from tests.support.mounting import MountAs
from tests.support.running_sandbox import RunningSandbox, run_cli
from tests.support.verbs import CAROL, LARGE, OCEAN, Verbs

NOISE = "raw/noise.bin"


@pytest.fixture
def handle(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> str:
    """A new dataset of alice without files."""
    return sandbox.mint("alice", f"For {request.node.name[:80]}")


def _next(sandbox: RunningSandbox, handle: str) -> str | None:
    following: str | None = sandbox.item(handle)["versioning_info"]["next_version"]
    return following


def _put(sandbox: RunningSandbox, handle: str, files: dict[str, bytes]) -> None:
    s3, prefix = sandbox.s3(), sandbox.prefix(handle)
    for path, body in files.items():
        s3.put_object(Bucket=sandbox.bucket, Key=prefix + path, Body=body)


def _put_large(sandbox: RunningSandbox, handle: str) -> None:
    """A file of more than 64 MiB, copied by the server from a sample."""
    source = {"Bucket": sandbox.bucket, "Key": sandbox.prefix(LARGE) + NOISE}
    key = sandbox.prefix(handle) + NOISE
    sandbox.s3().copy_object(Bucket=sandbox.bucket, Key=key, CopySource=source)


def _files(sandbox: RunningSandbox, handle: str) -> dict[str, str]:
    """The SHA-256 of each object by path, but of the server's own metadata."""
    s3, prefix = sandbox.s3(), sandbox.prefix(handle)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=sandbox.bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {
        key.removeprefix(prefix): hashlib.sha256(
            s3.get_object(Bucket=sandbox.bucket, Key=key)["Body"].read()
        ).hexdigest()
        for key in keys
        if key != prefix + "metadata.json"
    }


def test_who_may_make_versions(verbs: Verbs, handle: str) -> None:
    arguments = ("version", handle, "--reason", "more data", "--yes")
    statuses = verbs.statuses(*arguments)
    # admin comes after alice, to what is not the newest version any more.
    assert statuses == {"alice": 0, "bob": 5, "carol": 5, "dave": 5, "admin": 7}
    new = _next(verbs.sandbox, handle)
    assert new is not None
    assert new in verbs.run("admin", *arguments, status=7).stderr
    assert "no admin role" in verbs.run("bob", *arguments, status=5).stderr
    made = verbs.ask("admin", "version", new, "--reason", "curated", "--yes")
    assert made["version"] == 3
    assert made["previous"] == new
    item = verbs.sandbox.item(made["handle"])
    assert item["versioning_info"]["reason"] == "curated"
    assert item["owner_username"] == "admin"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--yes",), 2, "the reason must not be empty"),
        (("--reason", " ", "--yes"), 2, "the reason must not be empty"),
        (("--reason", "why"), 2, "pass --yes"),
        (("--reason", "why", "--resume"), 2, "--resume creates no version"),
        (("--copy-data", "--resume"), 2, "--resume creates no version"),
        (("--resume",), 4, "has no next version"),
    ],
)
def test_what_makes_no_version(
    verbs: Verbs, handle: str, arguments: tuple[str, ...], status: int, words: str
) -> None:
    assert words in verbs.run("alice", "version", handle, *arguments, status=status).stderr
    assert _next(verbs.sandbox, handle) is None


def test_a_dataset_that_is_none(verbs: Verbs) -> None:
    for handle, status in (("10378.1/1", 4), ("nothing", 2)):
        verbs.run("alice", "version", handle, "--reason", "why", "--yes", status=status)


def test_without_copy_data_there_are_no_files(verbs: Verbs, handle: str) -> None:
    _put(verbs.sandbox, handle, {"a.txt": b"abc"})
    done = verbs.run("alice", "version", handle, "--reason", " why ", "--yes")
    new = _next(verbs.sandbox, handle)
    assert new is not None
    assert done.stdout == f"Version 2 of {handle} is {new}.\n"
    assert _files(verbs.sandbox, new) == {}
    assert verbs.sandbox.item(new)["versioning_info"]["reason"] == "why"


def test_all_files_are_copied(verbs: Verbs, handle: str) -> None:
    sandbox = verbs.sandbox
    files = {
        "a.txt": b"abc",
        "deep/er/still/b.bin": os.urandom(3_000_000),
        "deep/nothing": b"",
        "deep/metadata.json": b"{}",
        "empty/": b"",
        "deep/empty/": b"",
        "blanks and ä/+%20&?.csv": b"1,2",
    }
    _put(sandbox, handle, files)
    _put_large(sandbox, handle)
    told = verbs.ask("alice", "version", handle, "--reason", "why", "--copy-data", "--yes")
    before = _files(sandbox, handle)
    assert _files(sandbox, told["handle"]) == before
    assert set(files) | {NOISE} <= set(before)
    counted = [path for path in before if not path.endswith("/")]
    assert told["copied"]["files"] == len(counted)
    assert told["copied"]["present"] == 0
    assert told["copied"]["differing"] == []
    again = verbs.ask("alice", "version", handle, "--resume")["copied"]
    assert (again["files"], again["size"], again["present"]) == (0, 0, len(counted))


def test_what_the_new_version_has_is_kept(verbs: Verbs, handle: str) -> None:
    sandbox = verbs.sandbox
    _put(sandbox, handle, {"a.txt": b"old", "b.txt": b"old"})
    new = verbs.ask("alice", "version", handle, "--reason", "why", "--yes")["handle"]
    _put(sandbox, new, {"a.txt": b"new"})
    done = verbs.run("alice", "version", handle, "--resume", status=1)
    assert "a.txt: differs" in done.stdout
    assert "1 files of 3 bytes copied" in done.stdout
    told = verbs.ask("alice", "version", handle, "--resume", status=1)
    assert told["copied"]["differing"] == ["a.txt"]
    assert set(_files(sandbox, new).values()) == {
        hashlib.sha256(body).hexdigest() for body in (b"old", b"new")
    }
    verbs.run("bob", "version", handle, "--resume", status=5)


def test_neither_a_lock_nor_a_release_stands_in_the_way(verbs: Verbs, handle: str) -> None:
    sandbox = verbs.sandbox
    _put(sandbox, handle, {"a.txt": b"abc"})
    verbs.run("alice", "review", "request", handle, "--reviewer", CAROL, "--notes", "x", "--yes")
    verbs.run("carol", "review", "approve", handle, "--notes", "x", "--yes")
    verbs.run("alice", "lock", handle, "--reason", "final", "--yes")
    told = verbs.ask("alice", "version", handle, "--reason", "why", "--copy-data", "--yes")
    assert _files(sandbox, told["handle"]) == _files(sandbox, handle) != {}
    state = verbs.ask("alice", "info", told["handle"])
    assert state["read_only_because"] is None
    verbs.run("alice", "lock", told["handle"], "--reason", "final", "--yes")
    assert "locked" in verbs.run("alice", "version", handle, "--resume", status=5).stderr


def test_a_version_that_was_not_completed(verbs: Verbs) -> None:
    handle = mint_unversionable(verbs.sandbox, "Not to be versioned by a verb")
    _put(verbs.sandbox, handle, {"a.txt": b"abc"})
    arguments = ("version", handle, "--reason", "half", "--copy-data", "--yes")
    done = verbs.run("alice", *arguments, status=1)
    new = _next(verbs.sandbox, handle)
    assert new is not None
    assert f"{new} was made as the next version of {handle}, but not completed" in done.stderr
    refused = verbs.run("alice", "version", handle, "--resume", status=5)
    assert "versioning was not completed" in refused.stderr
    assert list(_files(verbs.sandbox, handle)) == ["a.txt"]


def test_a_path_in_a_mount(
    sandbox: RunningSandbox,
    mount_as: MountAs,
    handle: str,
) -> None:
    drive = mount_as("alice", "--writeback", "--ttl", "1")
    folder = drive.dataset(handle)
    (folder / "data/new.bin").write_bytes(b"x" * 1_000_000)
    arguments = ("version", str(folder), "--reason", "why", "--copy-data", "--yes", "--json")
    done = run_cli(drive.environ, *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["copied"]["files"] == 1
    assert (drive.data(told["handle"]) / "new.bin").stat().st_size == 1_000_000
    _wait_for(lambda: os.readlink(folder / "versions/latest") == "v2")


def _wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


# Bad days


@contextmanager
def _behind_proxy(sandbox: RunningSandbox, address: str) -> Iterator[tuple[FaultProxy, Any]]:
    """A proxy before one server, and the environment of an alice who reaches it through that."""
    with fault_proxy(address) as proxy:
        environ = {
            name: value.replace(address, proxy.address) if name[:10] == "PROVENAFS_" else value
            for name, value in sandbox.env("alice").items()
        }
        yield proxy, environ


def test_an_answer_that_is_lost(sandbox: RunningSandbox, handle: str) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with _behind_proxy(sandbox, address) as (api, environ):
        api.fail(lambda request: request.path.endswith("/register/version"), lose_answer())
        arguments = ("--reason", "told by the record", "--yes", "--json")
        done = run_cli(environ, "version", handle, *arguments)
        assert done.returncode == 0, done.stderr
        new = _next(sandbox, handle)
        assert json.loads(done.stdout)["handle"] == new
        assert api.count(lambda request: request.path.endswith("/register/version")) == 1
    assert new is not None
    assert _next(sandbox, new) is None


def test_a_version_of_somebody_else_is_not_taken_for_ours(
    sandbox: RunningSandbox, handle: str
) -> None:
    """The request never arrives, and meanwhile another makes a version."""
    address, _, _ = sandbox.running.datastore.rpartition("/")
    other: list[str] = []

    def overtake(exchange: Any, closing: Any) -> bool:
        exchange.take()
        url = f"{sandbox.running.datastore}/register/version"
        made = sandbox.api("admin", "POST", url, json={"id": handle, "reason": "theirs"})
        other.append(made.json()["new_version_id"])
        return False

    with _behind_proxy(sandbox, address) as (api, environ):
        api.fail(lambda request: request.path.endswith("/register/version"), overtake, times=1)
        done = run_cli(environ, "version", handle, "--reason", "ours", "--yes")
    assert done.returncode == 7
    assert f"not the newest version, {other[0]} is" in done.stderr


def test_a_data_store_that_fails(sandbox: RunningSandbox, handle: str) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with _behind_proxy(sandbox, address) as (api, environ):
        api.fail(lambda request: request.path.endswith("/register/version"), answer("503 Gone"))
        done = run_cli(environ, "version", handle, "--reason", "why", "--yes")
        assert done.returncode == 6
        assert "no new version of" in done.stderr
        assert api.count(lambda request: request.path.endswith("/register/version")) == 1
    assert _next(sandbox, handle) is None


def test_a_copy_that_is_killed_goes_on(sandbox: RunningSandbox, handle: str) -> None:
    small = {f"folder{number % 3}/{number:02}.txt": b"x" * number for number in range(30)}
    _put(sandbox, handle, small | {"empty/": b""})
    _put_large(sandbox, handle)
    with _behind_proxy(sandbox, sandbox.s3_endpoint) as (s3, environ):
        s3.fail(lambda request: "partNumber=3" in request.query, stall())
        program = Path(sys.executable).parent / "provenafs"
        arguments = ("version", handle, "--reason", "why", "--copy-data", "--yes")
        process = subprocess.Popen(
            [program, *arguments], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        try:
            _wait_for(lambda: s3.count(_is_put_whole) >= 31)
            _wait_for(lambda: s3.count(lambda request: "partNumber=3" in request.query) > 0)
        finally:
            process.kill()
            told, _ = process.communicate(timeout=30)
        assert f"provenafs version {handle} --resume" in told.decode()
        new = _next(sandbox, handle)
        assert new is not None
        assert NOISE not in _files(sandbox, new)
        noted = list(Path(environ["XDG_STATE_HOME"]).glob("**/copies/*/*"))
        assert new.replace("/", "-") in [path.name for path in noted]
        s3.heal()
        before = s3.count(_is_put_whole)
        again = run_cli(environ, *arguments)
        assert again.returncode == 7
        assert new in again.stderr
        done = run_cli(environ, "version", handle, "--resume", "--json")
        assert done.returncode == 0, done.stderr
        copied = json.loads(done.stdout)["copied"]
        assert copied["files"] + copied["present"] == 31
        assert copied["files"] < 31
        assert s3.count(_is_put_whole) - before == copied["files"] - 1
        assert s3.count(lambda request: request.method == "DELETE") == 1  # what the first left
    assert _files(sandbox, new) == _files(sandbox, handle)
    assert _next(sandbox, new) is None


def _is_put_whole(request: Any) -> bool:
    return bool(request.method == "PUT" and not request.query)


def test_copying_needs_no_write_keys_of_the_old_one(verbs: Verbs) -> None:
    """OCEAN is a sample: bob may read it, but make no version of it."""
    verbs.run("bob", "version", OCEAN, "--reason", "mine", "--copy-data", "--yes", status=5)
