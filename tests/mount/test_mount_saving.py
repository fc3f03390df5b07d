"""Saving metadata.json on a mount, the way editors and tools do it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.faultproxy import Request, answer, fault_proxy, lose_answer
from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox

PENGUINS = "10378.1/1451870"
LOCKED = "10378.1/1451960"
COMMON_POOL = "10378.1/1452060"

_DUMP = """
import json, sys
with open(sys.argv[1]) as file:
    document = json.load(file)
document["dataset_info"]["purpose"] = "NEW"
with open(sys.argv[1], "w") as file:
    json.dump(document, file, indent=4)
"""


def _run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments],
        cwd=folder,
        env=os.environ | {"HOME": "/nonexistent", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _document(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _edited(path: Path, **info: Any) -> bytes:
    document = _document(path)
    document["dataset_info"] |= info
    return json.dumps(document, indent=2).encode()


def _replace_all(path: Path) -> None:
    """Truncate and write, as VS Code and nano do."""
    path.write_bytes(path.read_bytes().replace(b"OLD", b"NEW"))


def _in_place(path: Path) -> None:
    """Write over the old text, then cut what is left of it."""
    with path.open("rb+") as file:
        text = json.dumps(json.loads(file.read().replace(b"OLD", b"NEW"))).encode()
        file.seek(0)
        for start in range(0, len(text), 100):
            file.write(text[start : start + 100])
        file.truncate()


def _atomically(path: Path) -> None:
    """Write a file beside it and rename it, as VS Code does on request, and fsync."""
    beside = path.with_name("metadata.json.vsctmp")
    with beside.open("wb") as file:
        file.write(path.read_bytes().replace(b"OLD", b"NEW"))
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def _with_backup(path: Path) -> None:
    """Keep the old text aside first, as vim and emacs do."""
    text = path.read_bytes()
    backup = path.with_name("metadata.json~")
    path.rename(backup)
    path.write_bytes(text.replace(b"OLD", b"NEW"))
    assert backup.read_bytes() == text
    backup.unlink()


_SHELL = {
    "vim": "vim -N -u NONE -i NONE -es -c '%s/OLD/NEW/' -c wq metadata.json",
    "vim with a backup": "vim -N -u NONE -i NONE -es -c 'set backup backupcopy=no'"
    " -c '%s/OLD/NEW/' -c wq metadata.json",
    "vim with a copy": "vim -N -u NONE -i NONE -es -c 'set backup backupcopy=yes'"
    " -c '%s/OLD/NEW/' -c wq metadata.json",
    "sed": "sed -i s/OLD/NEW/ metadata.json",
    "sed with a backup": "sed -i.bak s/OLD/NEW/ metadata.json",
    "mv": "sed s/OLD/NEW/ metadata.json > metadata.json.tmp && mv metadata.json.tmp metadata.json",
    "jq and mv": """jq '.dataset_info.purpose = "NEW"' metadata.json > .metadata.json.new &&
        mv .metadata.json.new metadata.json""",
    "jq and a variable": """new=$(jq '.dataset_info.purpose = "NEW"' metadata.json) &&
        echo "$new" > metadata.json""",
    "cp": "sed s/OLD/NEW/ metadata.json > $1/new.json && cp $1/new.json metadata.json",
    "cp -p": "sed s/OLD/NEW/ metadata.json > $1/new.json && cp -p $1/new.json metadata.json",
    "dd": "sed s/OLD/NEW/ metadata.json > $1/new.json &&"
    " dd bs=64 if=$1/new.json of=metadata.json conv=fsync",
    "tee": "sed s/OLD/NEW/ metadata.json > $1/new && tee metadata.json < $1/new > /dev/null",
    "python": f"{sys.executable} -c '{_DUMP}' metadata.json",
    "mv from elsewhere": """jq '.dataset_info.purpose = "NEW"' metadata.json > $1/x &&
        mv $1/x metadata.json""",
    "jq beside it": """jq '.dataset_info.purpose = "NEW"' metadata.json > tmp.json &&
        mv tmp.json metadata.json""",
    "jq to tmp": """jq '.dataset_info.purpose = "NEW"' metadata.json > tmp &&
        mv tmp metadata.json""",
    "install": "sed s/OLD/NEW/ metadata.json > $1/x && install -m 644 $1/x metadata.json",
    "cp -b": "sed s/OLD/NEW/ metadata.json > $1/x && cp -b $1/x metadata.json",
    "cp --remove-destination": "sed s/OLD/NEW/ metadata.json > $1/x &&"
    " cp --remove-destination $1/x metadata.json",
    "perl -pi": "perl -pi -e s/OLD/NEW/ metadata.json",
    "perl -pi.bak": "perl -pi.bak -e s/OLD/NEW/ metadata.json",
    "rm and write": "sed s/OLD/NEW/ metadata.json > $1/x && rm metadata.json &&"
    " cat $1/x > metadata.json",
}


@pytest.mark.parametrize("way", _SHELL)
def test_tools_save(sandbox: RunningSandbox, writer: Drive, tmp_path: Path, way: str) -> None:
    handle = sandbox.mint("alice", f"By {way}", purpose="OLD")
    folder = writer.dataset(handle)
    before = sorted(os.listdir(folder))
    done = _run(_SHELL[way], folder, str(tmp_path))
    assert done.returncode == 0, done.stderr
    _assert_saved(sandbox, writer, handle)
    left = set(os.listdir(folder)) - set(before)
    assert left <= {"metadata.json.bak", "metadata.json~"}


@pytest.mark.parametrize("save", [_replace_all, _in_place, _atomically, _with_backup])
def test_editors_save(sandbox: RunningSandbox, writer: Drive, save: Callable[[Path], None]) -> None:
    handle = sandbox.mint("alice", f"By {save.__name__}", purpose="OLD")
    save(writer.dataset(handle) / "metadata.json")
    _assert_saved(sandbox, writer, handle)


def _assert_saved(sandbox: RunningSandbox, drive: Drive, handle: str) -> None:
    item = sandbox.item(handle)
    assert item["collection_format"]["dataset_info"]["purpose"] == "NEW"
    assert [entry["reason"] for entry in item["history"]] == [
        "Edited through provenafs",
        "Initial record creation",
    ]
    folder = drive.dataset(handle)
    shown = folder / "metadata.json"
    assert _document(shown)["dataset_info"]["purpose"] == "NEW"
    assert shown.stat().st_size == len(shown.read_bytes())
    assert _document(folder / "versions/metadata/1.json") == _document(shown)
    assert _document(folder / ".provena/record.json")["item"] == item


def test_a_save_changes_the_documents_made_from_the_record(writer: Drive, handle: str) -> None:
    folder = writer.dataset(handle)
    papers = [folder / ".provena/citation.cff", folder / ".provena/ro-crate-metadata.json"]
    before = [(path.read_bytes(), path.stat()) for path in papers]
    document = _document(folder / "metadata.json")
    document["dataset_info"]["description"] = "Described anew"
    (folder / "metadata.json").write_text(json.dumps(document))
    for path, (content, stat) in zip(papers, before, strict=True):
        assert b"Described anew" in path.read_bytes()
        assert path.read_bytes() != content
        assert path.stat().st_size == len(path.read_bytes()) != stat.st_size


def test_a_save_without_a_change_makes_no_entry(
    sandbox: RunningSandbox, writer: Drive, handle: str
) -> None:
    before = sandbox.item(handle)
    path = writer.dataset(handle) / "metadata.json"
    text = path.read_bytes()
    path.write_bytes(text)
    path.write_bytes(json.dumps(json.loads(text), sort_keys=True).encode())
    path.open("rb+").close()
    path.open("wb").close()
    os.truncate(path, 0)
    os.utime(path)
    path.chmod(0o600)
    assert _run("sed -i s/nothing/something/ metadata.json", path.parent).returncode == 0
    assert path.read_bytes() == text
    assert sandbox.item(handle) == before


def test_an_earlier_state_is_reverted_to(
    sandbox: RunningSandbox, writer: Drive, handle: str
) -> None:
    folder = writer.dataset(handle)
    path = folder / "metadata.json"
    path.write_bytes(_edited(path, purpose="a while"))
    assert (folder / "versions/metadata").exists()
    assert _run("cp versions/metadata/0.json metadata.json", folder).returncode == 0
    newest = sandbox.item(handle)["history"][0]
    assert newest["id"] == 2
    assert newest["reason"].startswith("Reverting dataset to history id 0.")


def test_a_reason_is_used_once(sandbox: RunningSandbox, writer: Drive, handle: str) -> None:
    folder = writer.dataset(handle)
    path = folder / "metadata.json"
    os.setxattr(path, "user.provena.reason", b"for the paper")
    assert os.getxattr(folder, "user.provena.reason") == b"for the paper"
    path.write_bytes(path.read_bytes())  # changes nothing, uses nothing up
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        path.write_bytes(b"{")
    path.write_bytes(_edited(path, purpose="one"))
    path.write_bytes(_edited(path, purpose="two"))
    assert os.listxattr(path) == []
    os.setxattr(folder, "user.provena.reason", "Prüfung: a/b & c".encode())
    path.write_bytes(_edited(path, purpose="three"))
    assert [entry["reason"] for entry in sandbox.item(handle)["history"]] == [
        "Prüfung: a/b & c",
        "Edited through provenafs",
        "for the paper",
        "Initial record creation",
    ]
    for bad in (b"", b"  ", b"\xff", b"x" * 1001):
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            os.setxattr(path, "user.provena.reason", bad)
    with pytest.raises(PermissionError):
        os.setxattr(path, "user.provena.roles", b"admin")


_BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown field": (lambda d: d["dataset_info"].update(colour="red"), "colour"),
    "no such date": (
        lambda d: d["dataset_info"].update(created_date={"relevant": True, "value": "2023-02-31"}),
        "created_date",
    ),
    "bad EWKT": (
        lambda d: d["dataset_info"].update(spatial_info={"coverage": "SRID=4326;POINT (1"}),
        "coverage",
    ),
}


@pytest.mark.parametrize("fault", _BAD)
def test_what_the_service_refuses(
    sandbox: RunningSandbox, writer: Drive, handle: str, fault: str
) -> None:
    spoil, words = _BAD[fault]
    path = writer.dataset(handle) / "metadata.json"
    document = _document(path)
    spoil(document)
    _assert_refused(sandbox, writer, handle, json.dumps(document).encode(), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{\n"dataset_info": {\n"name" "x"}}', "line 3"),
        (b"not JSON", "line 1"),
        (b"\n", "empty"),
        (b"[1]", "object"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_is_no_metadata(
    sandbox: RunningSandbox, writer: Drive, handle: str, text: bytes, words: str
) -> None:
    _assert_refused(sandbox, writer, handle, text, words)


def _assert_refused(
    sandbox: RunningSandbox, drive: Drive, handle: str, text: bytes, words: str
) -> None:
    before = sandbox.item(handle)
    folder = drive.dataset(handle)
    path = folder / "metadata.json"
    stored = path.read_bytes()
    file = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(file, text)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.close(file)
    assert words in (folder / ".provena/last-error.txt").read_text()
    assert words in drive.log
    (kept,) = (folder / ".provena/rejected").iterdir()
    assert kept.name.endswith("-metadata.json")
    assert kept.read_bytes() == text
    _wait_for(lambda: path.read_bytes() == stored)
    assert sandbox.item(handle) == before
    (local,) = (drive.home / "state/rejected").glob(f"*/{folder.name}/{kept.name}")
    assert local.stat().st_mode & 0o777 == 0o600


def _wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    """The last release of a file comes a moment after its close."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_refused_rename_leaves_the_new_text(
    sandbox: RunningSandbox, writer: Drive, handle: str
) -> None:
    folder = writer.dataset(handle)
    (folder / "metadata.json.tmp").write_bytes(b"")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        (folder / "metadata.json.tmp").rename(folder / "metadata.json")
    assert "empty" in (folder / ".provena/last-error.txt").read_text()
    assert _document(folder / "metadata.json")
    (folder / "metadata.json.tmp").unlink()


def test_a_failed_close_fails_again(writer: Drive, handle: str) -> None:
    """A duplicate closed first must not take the failure away from the others."""
    path = writer.dataset(handle) / "metadata.json"
    file = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(file, b"{")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.close(os.dup(file))
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.fsync(file)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.close(file)
    assert len(os.listdir(writer.dataset(handle) / ".provena/rejected")) == 1


def test_two_people_editing(
    sandbox: RunningSandbox, writer: Drive, mount_as: MountAs, handle: str
) -> None:
    ours = writer.dataset(handle) / "metadata.json"
    theirs = mount_as("admin").dataset(handle) / "metadata.json"
    text = _edited(ours, purpose="ours")
    theirs.write_bytes(_edited(theirs, purpose="theirs"))
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            ours.write_bytes(text)
    beside = ours.with_name("metadata.json.new")
    beside.write_bytes(text)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        beside.rename(ours)
    assert sandbox.item(handle)["collection_format"]["dataset_info"]["purpose"] == "theirs"
    assert "another client" in (ours.parent / ".provena/last-error.txt").read_text()
    assert len(os.listdir(ours.parent / ".provena/rejected")) == 1
    assert _document(ours)["dataset_info"]["purpose"] == "theirs"
    ours.write_bytes(text)
    assert sandbox.item(handle)["collection_format"]["dataset_info"]["purpose"] == "ours"


@pytest.mark.parametrize(
    ("user", "handle"),
    [("bob", PENGUINS), ("bob", COMMON_POOL), ("alice", LOCKED), ("alice", COMMON_POOL)],
)
def test_who_may_not(
    request: pytest.FixtureRequest, sandbox: RunningSandbox, user: str, handle: str
) -> None:
    before = sandbox.item(handle)
    drive: Drive = request.getfixturevalue(user)
    folder = drive.dataset(handle)
    path = folder / "metadata.json"
    assert path.stat().st_mode & 0o777 == 0o444
    for attempt in (
        lambda: path.open("wb"),
        lambda: path.open("rb+"),
        lambda: os.truncate(path, 0),
        lambda: os.utime(path),
        lambda: (folder / "4913").open("wb"),
        lambda: path.rename(folder / "metadata.json~"),
        path.unlink,
        lambda: os.setxattr(folder, "user.provena.reason", b"why"),
    ):
        with pytest.raises(PermissionError) as refused:
            attempt()
        assert refused.value.errno == errno.EACCES
    words = (folder / ".provena/last-error.txt").read_text()
    assert "locked" in words or "no metadata write role" in words
    assert sandbox.item(handle) == before


def test_a_lock_since_the_file_was_opened(
    sandbox: RunningSandbox, writer: Drive, handle: str
) -> None:
    path = writer.dataset(handle) / "metadata.json"
    text = _edited(path, purpose="too late")
    file = os.open(path, os.O_WRONLY | os.O_TRUNC)
    url = f"{sandbox.running.registry}/registry/entity/dataset/locks/lock"
    answer = sandbox.api("alice", "PUT", url, json={"id": handle, "reason": "final"})
    assert answer.json()["status"]["success"]
    os.write(file, text)
    with pytest.raises(PermissionError):
        os.close(file)
    assert "locked" in (path.parent / ".provena/last-error.txt").read_text()
    assert len(os.listdir(path.parent / ".provena/rejected")) == 1


def test_admin_may_edit_what_is_not_theirs(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    path = mount_as("admin").dataset(handle) / "metadata.json"
    path.write_bytes(_edited(path, purpose="curated"))
    assert sandbox.item(handle)["history"][0]["username"] == "admin"


def test_a_read_only_mount_takes_nothing(mount_as: MountAs, handle: str) -> None:
    path = mount_as("alice", "--read-only").dataset(handle) / "metadata.json"
    for attempt in (
        lambda: path.open("wb"),
        lambda: path.with_name("4913").open("wb"),
        lambda: os.setxattr(path, "user.provena.reason", b"why"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            attempt()


def test_other_names_do_not_belong_here(writer: Drive, handle: str) -> None:
    folder = writer.dataset(handle)
    for attempt in (
        lambda: (folder / "notes.txt").open("wb"),
        lambda: (folder / "data").rmdir(),
        lambda: (folder / "metadata.json").rename(folder / "old.txt"),
        lambda: (folder / "data").rename(folder / "metadata.json.bak"),
        lambda: (folder / "new").mkdir(),
    ):
        with pytest.raises(PermissionError) as refused:
            attempt()
        assert refused.value.errno == errno.EPERM
    with pytest.raises(FileExistsError):
        (folder / "metadata.json").open("xb")
    assert sorted(os.listdir(folder)) == [".provena", "data", "metadata.json", "versions"]


def test_scratch_files_are_files(writer: Drive, handle: str) -> None:
    folder = writer.dataset(handle)
    swap, lock = folder / ".metadata.json.swp", folder / ".#metadata.json"
    swap.write_bytes(b"abc")
    with swap.open("r+b") as file:
        file.seek(5)
        file.write(b"d")
        file.flush()
        assert os.fstat(file.fileno()).st_size == 6
        swap.rename(lock)
        assert os.listdir(folder).count(".#metadata.json") == 1
        lock.unlink()
        file.seek(0)
        assert file.read() == b"abc\0\0d"
    assert not swap.exists()
    assert not lock.exists()
    with pytest.raises(FileNotFoundError):
        lock.unlink()
    with pytest.raises(FileNotFoundError):
        swap.rename(lock)


def test_10_megabytes(sandbox: RunningSandbox, writer: Drive, handle: str) -> None:
    path = writer.dataset(handle) / "metadata.json"
    text = _edited(path, description="x" * 10_000_000)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        path.write_bytes(text)
    assert "400 KiB" in (path.parent / ".provena/last-error.txt").read_text()
    (kept,) = (path.parent / ".provena/rejected").iterdir()
    assert kept.read_bytes() == text
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        path.write_bytes(text + b" " * 1_000_000)
    assert "10 MiB" in (path.parent / ".provena/last-error.txt").read_text()
    assert len(sandbox.item(handle)["history"]) == 1


def test_days_when_the_service_fails(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with fault_proxy(address) as api:
        folder = mount_as("alice", services=(address, api.address)).dataset(handle)
        path = folder / "metadata.json"
        text = _edited(path, purpose="saved in the end")
        is_update = "update-metadata"
        api.fail(lambda request: is_update in request.path, answer("503 Gone"), times=1)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            path.write_bytes(text)
        assert "503" in (folder / ".provena/last-error.txt").read_text()
        (kept,) = (folder / ".provena/rejected").iterdir()
        assert len(sandbox.item(handle)["history"]) == 1
        # Carried out without telling: the record is looked at, and nothing is sent twice.
        api.fail(lambda request: is_update in request.path, lose_answer(), times=1)
        path.write_bytes(kept.read_bytes())
        assert len(sandbox.item(handle)["history"]) == 2
        assert _document(path)["dataset_info"]["purpose"] == "saved in the end"
        assert api.count(lambda request: is_update in request.path) == 2


def test_a_group_of_commands_saves_what_they_wrote_together(
    sandbox: RunningSandbox, writer: Drive, tmp_path: Path, handle: str
) -> None:
    """Each command closes its output; only the last one finds a whole text."""
    folder = writer.dataset(handle)
    text = _edited(folder / "metadata.json", purpose="in two parts")
    (tmp_path / "1").write_bytes(text[:100])
    (tmp_path / "2").write_bytes(text[100:])
    done = _run("{ cat $1/1; cat $1/2; } > metadata.json", folder, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(sandbox.item(handle)["history"]) == 2


def test_a_removed_name_comes_back(sandbox: RunningSandbox, writer: Drive, handle: str) -> None:
    folder = writer.dataset(handle)
    path, before = folder / "metadata.json", sandbox.item(handle)
    text = path.read_bytes()
    with path.open("rb") as reader:
        path.unlink()
        assert not path.exists()
        assert "metadata.json" not in os.listdir(folder)
        assert reader.read() == text
        assert os.fstat(reader.fileno()).st_size == len(text)
    _wait_for(path.exists, 15)
    assert path.read_bytes() == text
    path.rename(folder / "old.json")
    assert not path.exists()
    path.touch()
    _wait_for(lambda: path.read_bytes() == text)
    assert (folder / "old.json").read_bytes() == text
    assert sandbox.item(handle) == before


def test_a_refused_text_does_not_take_the_record_away(
    sandbox: RunningSandbox, writer: Drive, tmp_path: Path, handle: str
) -> None:
    folder = writer.dataset(handle)
    text = (folder / "metadata.json").read_bytes()
    (tmp_path / "new.json").write_text("{")
    done = _run("mv $1/new.json metadata.json", folder, str(tmp_path))
    assert done.returncode != 0
    assert (tmp_path / "new.json").exists()
    _wait_for(lambda: (folder / "metadata.json").read_bytes() == text)
    assert len(sandbox.item(handle)["history"]) == 1


def test_a_saved_text_is_told_as_saved_though_the_service_does_not_show_it(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    address, _, _ = sandbox.running.datastore.rpartition("/")
    with fault_proxy(address) as api:
        drive = mount_as("alice", "--ttl", "0", services=(address, api.address))
        path = drive.dataset(handle) / "metadata.json"
        text = _edited(path, purpose="saved")
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.write(file, text)
        updates = api.count(lambda request: "update-metadata" in request.path)

        def is_after(request: Request) -> bool:
            sent = api.count(lambda one: "update-metadata" in one.path)
            return sent > updates and "update-metadata" not in request.path

        api.fail(is_after, answer("500 No"))
        os.close(file)
        api.heal()
        assert len(sandbox.item(handle)["history"]) == 2
        path.write_bytes(text.replace(b'"saved"', b'"saved again"'))
        info = sandbox.item(handle)["collection_format"]["dataset_info"]
        assert info["purpose"] == "saved again"
