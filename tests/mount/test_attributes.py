"""Times, modes and extended attributes as programs meet them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.mounting import Drive
from tests.support.running_sandbox import RunningSandbox
from tests.support.verbs import PENGUINS

RELEASED, LOCKED, READABLE = "10378.1/1451940", "10378.1/1451960", "10378.1/1452030"
THEN = 981173106_123456789
FAR = 253402300799_999999999


def _key(sandbox: RunningSandbox, handle: str, name: str) -> dict[str, str]:
    return {"Bucket": sandbox.bucket, "Key": f"{sandbox.prefix(handle)}{name}"}


# Times


@pytest.mark.parametrize("time_ns", [THEN, -1, FAR])
def test_a_time_is_kept_to_the_nanosecond(writer: Drive, handle: str, time_ns: int) -> None:
    path = writer.data(handle) / "f"
    path.write_bytes(b"x")
    before = path.stat().st_ctime_ns
    os.utime(path, ns=(time_ns, time_ns))
    assert path.stat().st_mtime_ns == time_ns
    assert path.stat().st_ctime_ns > before


def test_copies_and_archives_of_files_find_nothing_to_do_again(
    writer: Drive, handle: str, tmp_path: Path
) -> None:
    source, data = tmp_path / "source", writer.data(handle)
    source.mkdir()
    for number in range(3):
        (source / f"{number}").write_bytes(b"x")
        os.utime(source / f"{number}", ns=(0, THEN + number))
    run("rsync", "-aX", f"{source}/", f"{data}/copy/")
    assert run("rsync", "-aXOi", "--modify-window=-1", f"{source}/", f"{data}/copy/") == ""
    run("tar", "-cf", tmp_path / "archive", "-C", data, "copy")
    run("tar", "-df", tmp_path / "archive", "-C", data)
    assert run("cp", "-puv", source / "0", data / "copy/0") == ""


def test_incremental_archives_hold_what_changed(writer: Drive, handle: str, tmp_path: Path) -> None:
    data = writer.data(handle)
    (data / "d/below").mkdir(parents=True)
    for name in ("patched", "same", "below/same"):
        (data / "d" / name).write_bytes(b"one")

    def archive() -> list[str]:
        snapshot = f"--listed-incremental={tmp_path / 'snapshot'}"
        command = ("tar", "-cvf", tmp_path / "archive", snapshot, "-C", data, "d")
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    archive()
    assert "d/patched" not in archive()
    time_ns = (data / "d/patched").stat().st_mtime_ns
    with (data / "d/patched").open("r+b") as file:
        file.write(b"X")
    os.utime(data / "d/patched", ns=(time_ns, time_ns))
    (data / "d/below/new").write_bytes(b"new")
    assert set(archive()) >= {"d/patched", "d/below/new"}
    assert "d/same" not in archive()


def test_python_finds_a_module_that_came_after_an_import(writer: Drive, handle: str) -> None:
    program = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        sys.dont_write_bytecode = True
        try:
            import late_module
        except ImportError:
            open(f"{sys.argv[1]}/late_module.py", "w").close()
        import late_module
    """
    run(sys.executable, "-c", program, writer.data(handle))


def test_a_directory_changes_when_others_changed_it(
    sandbox: RunningSandbox, mount_as: Callable[..., Drive], handle: str
) -> None:
    data = mount_as("alice", "--ttl", "0").data(handle)
    (data / "d").mkdir()
    (data / "d/ours").write_bytes(b"x")
    os.listdir(data / "d")
    before = (data / "d").stat()
    os.listdir(data / "d")
    assert (data / "d").stat().st_mtime_ns == before.st_mtime_ns
    sandbox.s3().put_object(**_key(sandbox, handle, "d/theirs"), Body=b"x")
    assert sorted(os.listdir(data / "d")) == ["ours", "theirs"]
    after = (data / "d").stat()
    assert after.st_mtime_ns > before.st_mtime_ns
    assert after.st_ctime_ns > before.st_ctime_ns


def test_the_first_look_into_a_directory_does_not_change_it(mount_as: Callable[..., Drive]) -> None:
    data = mount_as("alice").data(PENGUINS)
    before = data.stat()
    os.listdir(data)
    assert data.stat().st_mtime_ns == before.st_mtime_ns
    run("tar", "-cf", "/dev/null", "-C", data, ".")  # it says what changed as it was read


@pytest.mark.parametrize("where", ["", "data", "mint"])
def test_a_reader_that_begins_again_sees_what_came_since(
    sandbox: RunningSandbox, mount_as: Callable[..., Drive], handle: str, where: str
) -> None:
    drive = mount_as("alice", "--ttl", "0")
    folder = {"": drive.path, "data": drive.data(handle), "mint": drive.path / "mint"}[where]
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = set(os.listdir(descriptor))
        if where:
            (folder / "new.json").touch()
            new = "new.json"
        else:
            new = sandbox.mint("alice", "Late").replace("/", "-")
        os.lseek(descriptor, 0, os.SEEK_SET)  # as rewinddir(3) does
        assert set(os.listdir(descriptor)) == before | {new}
    finally:
        os.close(descriptor)


# Modes


def test_programs_run_once_they_may(
    sandbox: RunningSandbox, writer: Drive, mount_as: Callable[..., Drive], handle: str
) -> None:
    data = writer.data(handle)
    (data / "script").write_text("#!/bin/sh\necho ran\n")
    with pytest.raises(PermissionError):
        subprocess.run([data / "script"], check=True)
    (data / "script").chmod(0o755)
    assert run(data / "script") == "ran\n"
    run("cp", "/bin/true", data / "program")  # cp makes it with the mode of the original
    run(data / "program")
    run("provenafs", "sync", data)
    for name in ("script", "program"):
        head = sandbox.s3().head_object(**_key(sandbox, handle, name))
        assert head["Metadata"]["mode"] == "0100755"
    fresh = mount_as("alice", "--mtime=object").data(handle)
    assert run(fresh / "script") == "ran\n"


@pytest.mark.parametrize("handle", [LOCKED, READABLE])
def test_what_may_not_be_written_shows_no_write_bits(
    mount_as: Callable[..., Drive], handle: str
) -> None:
    data = mount_as("alice").data(handle)
    for path in (data, *data.iterdir()):
        assert path.stat().st_mode & 0o222 == 0
        with pytest.raises(PermissionError):
            path.chmod(0o777)


def test_git_works_as_on_a_disk(
    writer: Drive, handle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    data = writer.data(handle)

    def git(*arguments: str) -> str:
        return run("git", "-c", "user.name=n", "-c", "user.email=e", *arguments, cwd=data)

    git("init", "-q", "-b", "main")
    assert git("config", "core.filemode") == "true\n"
    (data / "tool").write_text("#!/bin/sh\n")
    (data / "tool").chmod(0o755)
    git("add", "tool")
    git("commit", "-q", "-m", "one")
    git("update-index", "--untracked-cache")
    assert git("status", "--short") == ""
    (data / "new").write_bytes(b"x")
    assert git("status", "--short") == "?? new\n"
    before = (data / "tool").stat()
    (data / "tool").write_text("#!/bin/zz\n")
    os.utime(data / "tool", ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert git("status", "--short") == " M tool\n?? new\n"
    git("checkout", "-q", "tool")
    assert git("status", "--short") == "?? new\n"
    assert os.access(data / "tool", os.X_OK)


# A fresh machine


def test_a_fresh_machine_reads_the_times_of_the_objects(
    writer: Drive, mount_as: Callable[..., Drive], handle: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        (source / f"{number}").write_bytes(b"x")
        os.utime(source / f"{number}", ns=(0, THEN + number))
    run("rsync", "-a", f"{source}/", writer.data(handle))
    run("provenafs", "sync", writer.data(handle))
    fresh = mount_as("alice", "--mtime=object")
    assert run("rsync", "-aOi", f"{source}/", fresh.data(handle)) == ""
    assert {path.name: path.stat().st_mtime_ns for path in fresh.data(handle).iterdir()} == {
        f"{number}": THEN + number for number in range(40)
    }


# Other attributes and names


def test_our_attributes_are_read_by_name_and_not_copied(
    writer: Drive, handle: str, tmp_path: Path
) -> None:
    data = writer.data(handle)
    (data / "f").write_bytes(b"x")
    assert os.listxattr(data / "f") == os.listxattr(data.parent) == []
    assert os.getxattr(data / "f", "user.provena.etag")
    run("cp", "-a", data / "f", tmp_path / "a")
    run("cp", "--preserve=all", data / "f", tmp_path / "b")
    run("rsync", "-aX", f"{data}/", tmp_path / "c")
    run("mv", data / "f", tmp_path / "d")
    assert [os.listxattr(tmp_path / name) for name in "abd"] == [[], [], []]
    told = writer.dataset(handle) / ".provena/last-error.txt"
    before = told.read_bytes()
    (data / "g").write_bytes(b"x")
    with pytest.raises(PermissionError):
        os.setxattr(data / "g", "user.provena.etag", b"stale")
    with pytest.raises(PermissionError):
        os.removexattr(data / "g", "user.provena.etag")
    assert told.read_bytes() == before


def test_mknod_of_a_file_creates_it(
    sandbox: RunningSandbox, writer: Drive, handle: str, mount_as: Callable[..., Drive]
) -> None:
    path = writer.data(handle) / "f"
    os.mknod(path, stat.S_IFREG | 0o640)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_bytes() == b""
    assert sandbox.s3().get_object(**_key(sandbox, handle, "f"))["Body"].read() == b""
    with pytest.raises(FileExistsError):
        os.mknod(path)
    alice = mount_as("alice")
    for other, expected in ((RELEASED, errno.EROFS), (LOCKED, errno.EACCES)):
        with pytest.raises(OSError, match=os.strerror(expected)):
            os.mknod(alice.data(other) / "f")
    with pytest.raises(PermissionError):
        os.mkfifo(writer.data(handle) / "fifo")


@pytest.mark.parametrize("length", [256, 1000])
def test_a_name_that_is_too_long_is_said_to_be(writer: Drive, handle: str, length: int) -> None:
    for folder in (writer.path, writer.path / "by-name", writer.data(handle)):
        with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
            (folder / ("x" * length)).stat()


def test_a_file_without_a_name_has_no_links(writer: Drive, handle: str) -> None:
    path, other = writer.data(handle) / "f", writer.data(handle) / "g"
    path.write_bytes(b"x")
    other.write_bytes(b"y")
    with path.open("r+b") as file, other.open("rb") as replaced:
        assert os.fstat(file.fileno()).st_nlink == 1
        path.unlink()
        assert os.fstat(file.fileno()).st_nlink == 0
        os.fchmod(file.fileno(), 0o700)
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o700
        path.write_bytes(b"z")
        path.rename(other)
        assert os.fstat(replaced.fileno()).st_nlink == 0
