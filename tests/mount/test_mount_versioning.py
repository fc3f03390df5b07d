"""Making new versions on a mount, by writing a reason into versions/create."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.broken_versions import delete, fork, make_version, mint_unversionable
from tests.support.faultproxy import answer, fault_proxy, lose_answer
from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox

PENGUINS = "10378.1/1451870"
PRIVATE = "10378.1/1451990"


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _next(sandbox: RunningSandbox, handle: str) -> dict[str, Any] | None:
    """The record of the next version, if there is one."""
    following = sandbox.item(handle)["versioning_info"]["next_version"]
    return None if following is None else sandbox.item(following)


def _words(drive: Drive, handle: str) -> str:
    return (drive.dataset(handle) / ".provena/last-error.txt").read_text()


_WAYS = {
    "echo": "echo 'more data' > versions/create",
    "append": "echo 'more data' >> versions/create",
    "no newline": "printf 'more data' > versions/create",
    "later lines": r"printf '\n \n  more data \r\nand so on\n' > versions/create",
    "commands": "{ /bin/echo; /bin/echo 'more data'; /bin/echo 'and so on'; } > versions/create",
    "tee": "echo 'more data' | tee versions/create",
    "cp": "cp /dev/stdin versions/create <<< 'more data'",
    "dd": "echo 'more data' | dd of=versions/create conv=notrunc,fsync",
    "python": f"""{sys.executable} -c 'open("versions/create", "w").write("more data")'""",
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_reason_makes_a_version(sandbox: RunningSandbox, writer: Drive, way: str) -> None:
    handle = sandbox.mint("alice", f"Versioned by {way}")
    folder = writer.dataset(handle)
    versions = folder / "versions"
    assert not (versions / "v2").exists()
    assert os.readlink(versions / "latest") == "v1"
    done = _run(_WAYS[way], folder)
    assert done.returncode == 0, done.stderr
    new = _next(sandbox, handle)
    assert new is not None
    assert new["versioning_info"]["reason"] == "more data"
    assert new["versioning_info"]["next_version"] is None
    name = new["id"].replace("/", "-")
    assert sorted(os.listdir(versions)) == ["latest", "metadata", "v1", "v2"]
    assert os.readlink(versions / "latest") == "v2"
    assert os.readlink(versions / "v2") == f"../../{name}"
    assert name in os.listdir(writer.path)
    assert os.listdir(versions / "latest/data") == []
    (versions / "latest/data/new.txt").write_text("in the new version")
    assert os.readlink(versions / "v2/versions/v1") == f"../../{folder.name}"
    assert new["id"] in (folder / ".provena/record.json").read_text()


def test_looking_makes_no_version(
    sandbox: RunningSandbox, writer: Drive, handle: str, tmp_path: Path
) -> None:
    folder = writer.dataset(handle)
    path = folder / "versions/create"
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    assert "create" not in os.listdir(folder / "versions")
    assert stat.S_IMODE(path.stat().st_mode) == 0o200
    assert path.stat().st_size == 0
    path.open("wb").close()
    path.open("ab").close()
    path.write_text("\n  \n")
    os.truncate(path, 0)
    assert _run("touch versions/create && : > versions/create", folder).returncode == 0
    with pytest.raises(PermissionError):
        path.read_text()
    with pytest.raises(PermissionError):
        path.open("r+")
    with pytest.raises(FileExistsError):
        path.open("x")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.truncate(path, 7)
    assert _next(sandbox, handle) is None


def test_it_is_neither_replaced_nor_moved(
    sandbox: RunningSandbox, writer: Drive, handle: str, tmp_path: Path
) -> None:
    folder = writer.dataset(handle)
    path = folder / "versions/create"
    reason, scratch = tmp_path / "reason", folder / "metadata.json.tmp"
    reason.write_text("moved here")
    scratch.write_text("moved here")
    (folder / "data/reason").write_text("moved here")
    for attempt in (
        lambda: scratch.rename(path),
        lambda: (folder / "data/reason").rename(path),
        lambda: (folder / "versions/latest").rename(path),
        lambda: path.rename(folder / "versions/made"),
        lambda: path.rename(folder / "data/made"),
        lambda: path.unlink(),
        lambda: (folder / "versions/other").write_text("no"),
        lambda: os.link(path, folder / "versions/other"),
    ):
        with pytest.raises(OSError) as refused:
            attempt()
        assert refused.value.errno in (errno.EPERM, errno.EXDEV)
    assert _run(f"mv {reason} versions/create", folder).returncode != 0
    assert _next(sandbox, handle) is None
    scratch.unlink()


def test_once_per_open(sandbox: RunningSandbox, writer: Drive, handle: str) -> None:
    path = writer.dataset(handle) / "versions/create"
    file = os.open(path, os.O_WRONLY)
    os.close(os.dup(file))
    os.write(file, b"\n")
    os.close(os.dup(file))
    assert _next(sandbox, handle) is None
    os.write(file, b"first")
    os.fsync(file)
    os.write(file, b"\nsecond\n")
    os.close(os.dup(file))
    os.close(file)
    new = _next(sandbox, handle)
    assert new is not None
    assert new["versioning_info"]["reason"] == "first"
    assert new["versioning_info"]["next_version"] is None


def test_only_the_newest_has_a_next(sandbox: RunningSandbox, writer: Drive, handle: str) -> None:
    first = writer.dataset(handle)
    (first / "versions/create").write_text("second")
    (first / "versions/latest/versions/create").write_text("third")
    assert os.readlink(first / "versions/latest") == "v3"
    assert os.readlink(first / "versions/v2/versions/latest") == "v3"
    newest = (first / "versions/v3").resolve().name.replace("-", "/")
    for refused in (first, first / "versions/v2"):
        file = os.open(refused / "versions/create", os.O_WRONLY)
        os.write(file, b"again")
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            os.close(os.dup(file))
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            os.close(file)
        words = (refused / ".provena/last-error.txt").read_text()
        assert "is not the newest version" in words
        assert newest in words
    assert "is not the newest version" in writer.log
    assert sorted(os.listdir(first / "versions")) == ["latest", "metadata", "v1", "v2", "v3"]


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\x00\x01", "\u00a0".encode()])
def test_a_reason_is_text(sandbox: RunningSandbox, writer: Drive, handle: str, text: bytes) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        (writer.dataset(handle) / "versions/create").write_bytes(text)
    assert "reason" in _words(writer, handle)
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        (writer.dataset(handle) / "versions/create").write_bytes(b"x" * 100_000)
    assert _next(sandbox, handle) is None


@pytest.mark.parametrize("user", ["bob", "carol"])
def test_who_may_not(sandbox: RunningSandbox, mount_as: MountAs, handle: str, user: str) -> None:
    drive = mount_as(user)
    path = drive.dataset(handle) / "versions/create"
    assert stat.S_IMODE(path.stat().st_mode) == 0
    with pytest.raises(PermissionError):
        path.write_text("mine")
    assert "no admin role" in _words(drive, handle)
    with pytest.raises(PermissionError):
        (drive.dataset(PRIVATE) / "versions/create").write_text("mine")
    assert _next(sandbox, handle) is None


def test_an_administrator_may(sandbox: RunningSandbox, mount_as: MountAs, handle: str) -> None:
    drive = mount_as("admin")
    (drive.dataset(handle) / "versions/create").write_text("curated")
    new = _next(sandbox, handle)
    assert new is not None
    assert new["owner_username"] == "admin"


def test_a_read_only_mount_makes_none(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    path = mount_as("alice", "--read-only").dataset(handle) / "versions/create"
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        path.write_text("no")
    assert _next(sandbox, handle) is None


def test_neither_lock_nor_review_stands_in_the_way(
    sandbox: RunningSandbox, writer: Drive, handle: str
) -> None:
    url = f"{sandbox.running.registry}/registry/entity/dataset/locks/lock"
    done = sandbox.api("alice", "PUT", url, json={"id": handle, "reason": "final"})
    assert done.json()["status"]["success"]
    folder = writer.dataset(handle)
    (folder / "versions/create").write_text("from a locked one")
    new = folder / "versions/latest"
    assert (new / "data").stat().st_mode & 0o200
    url = f"{sandbox.running.datastore}/release/approval-request"
    carol = "10378.1/1451801"
    request = {"dataset_id": _id(new), "approver_id": carol, "notes": "please"}
    sandbox.api("alice", "POST", url, json=request).raise_for_status()
    (new / "versions/create").write_text("from one under review")
    assert os.readlink(folder / "versions/latest") == "v3"
    assert sandbox.item(_id(folder / "versions/v3"))["release_status"] == "NOT_RELEASED"


def _id(folder: Path) -> str:
    return folder.resolve().name.replace("-", "/")


def test_an_answer_that_is_lost(sandbox: RunningSandbox, mount_as: MountAs, handle: str) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with fault_proxy(address) as api:
        folder = mount_as("alice", services=(address, api.address)).dataset(handle)
        api.fail(lambda request: request.path.endswith("/register/version"), lose_answer(), times=1)
        (folder / "versions/create").write_text("told by the record")
        assert os.readlink(folder / "versions/latest") == "v2"
        assert api.count(lambda request: request.path.endswith("/register/version")) == 1
    new = _next(sandbox, handle)
    assert new is not None
    assert new["versioning_info"]["next_version"] is None


def test_a_service_that_fails(sandbox: RunningSandbox, mount_as: MountAs, handle: str) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with fault_proxy(address) as api:
        drive = mount_as("alice", services=(address, api.address))
        path = drive.dataset(handle) / "versions/create"
        api.fail(lambda request: "version" in request.path, answer("503 Gone"), times=1)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            path.write_text("in vain")
        assert "no new version" in _words(drive, handle)
        assert _next(sandbox, handle) is None
        path.write_text("now")
        assert api.count(lambda request: request.path.endswith("/register/version")) == 2
    assert _next(sandbox, handle) is not None


def test_a_version_that_was_not_completed(sandbox: RunningSandbox, writer: Drive) -> None:
    handle = mint_unversionable(sandbox, "Not to be versioned")
    folder = writer.dataset(handle)
    (folder / "data/old.txt").write_text("old")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        (folder / "versions/create").write_text("half")
    words = _words(writer, handle)
    assert "not completed" in words
    new = _next(sandbox, handle)
    assert new is not None
    assert new["id"] in words
    assert os.readlink(folder / "versions/latest") == "v2"
    latest = folder / "versions/latest"
    assert (latest / "data/old.txt").read_text() == "old"
    for attempt in (
        lambda: (latest / "data/new.txt").write_text("no"),
        lambda: (latest / "data/old.txt").write_text("no"),
        lambda: (latest / "data/old.txt").unlink(),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            attempt()
    assert f"{new['id']} was not completed" in writer.log
    assert (folder / "data/old.txt").read_text() == "old"


def test_a_fork_is_shown_as_it_is(sandbox: RunningSandbox, writer: Drive, handle: str) -> None:
    named, lost = fork(sandbox, handle)
    folder = writer.dataset(handle)
    assert os.readlink(folder / "versions/v2").endswith(named.replace("/", "-"))
    beside = writer.dataset(lost) / "versions"
    assert sorted(os.listdir(beside)) == ["latest", "metadata", "v1", "v2"]
    assert os.readlink(beside / "v2").endswith(lost.replace("/", "-"))
    assert os.readlink(beside / "v1").endswith(folder.name)
    (warning,) = [line for line in writer.log.splitlines() if "fork" in line]
    assert lost in warning
    assert named in warning
    # Of both branches, not of the fork, a next one can be made.
    (beside / "create").write_text("on")
    (writer.dataset(named) / "versions/create").write_text("on")
    assert os.readlink(beside / "latest") == "v3"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        (folder / "versions/create").write_text("no")


def test_a_chain_with_a_gap_is_shown_as_it_is(
    sandbox: RunningSandbox, writer: Drive, handle: str
) -> None:
    middle = make_version(sandbox, handle)
    last = make_version(sandbox, middle)
    delete(sandbox, middle)
    for dataset, shown in ((handle, ["v1", "v2"]), (last, ["v2", "v3"])):
        versions = writer.dataset(dataset) / "versions"
        assert sorted(os.listdir(versions)) == ["latest", "metadata", *shown]
        assert os.readlink(versions / "v2").endswith(middle.replace("/", "-"))
    assert not (writer.dataset(handle) / "versions/v2").exists()
    assert f"{middle}, a neighbour of {handle} in its versions, is gone" in writer.log
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        (writer.dataset(handle) / "versions/create").write_text("instead")


def test_a_mount_that_shows_only_some_datasets(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    drive = mount_as("alice", "--dataset", handle)
    versions = drive.dataset(handle) / "versions"
    (versions / "create").write_text("beyond what is shown")
    new = _next(sandbox, handle)
    assert new is not None
    assert os.readlink(versions / "v2") == f"../../{new['id'].replace('/', '-')}"
    assert not (versions / "v2").exists()
    assert "not among the datasets of this mount" in drive.log
