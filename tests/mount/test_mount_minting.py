"""Minting datasets on a mount, by saving metadata in mint/."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.faultproxy import FaultProxy, answer, fault_proxy, lose_answer, stall
from tests.support.mounting import Drive, MountAs, has_ended, mounted
from tests.support.running_sandbox import RunningSandbox


def _metadata(drive: Drive, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((drive.path / "mint/template.json").read_bytes())
    document["dataset_info"]["name"] = name
    return document


def _text(drive: Drive, name: str) -> str:
    return json.dumps(_metadata(drive, name), indent=2)


def _handles(sandbox: RunningSandbox, name: str) -> list[str]:
    """The datasets of this display name."""
    url = f"{sandbox.running.datastore}/registry/items/list"
    found, key = [], None
    for _ in range(100):
        body = {"page_size": 100, "pagination_key": key}
        page = sandbox.api("admin", "POST", url, json=body).raise_for_status().json()
        found += [item["id"] for item in page["items"] or [] if item["display_name"] == name]
        key = page["pagination_key"]
        if key is None:
            return found
    raise AssertionError("the list does not end")


def _words(drive: Drive) -> str:
    return (drive.path / "mint/last-error.txt").read_text()


def _run(script: str, drive: Drive) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        cwd=drive.path / "mint",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


_PYTHON = (
    "import json, sys; text = json.load(open('template.json'));"
    " text['dataset_info']['name'] = sys.argv[1];"
    " json.dump(text, open(sys.argv[2], 'w'))"
)
_WAYS = {
    "sed -i on a copy": 'cp template.json $F.json && sed -i "s/The name of.*/$N\\",/" $F.json',
    "redirection": 'sed "s/The name of.*/$N\\",/" template.json > $F.json',
    "cp": 'sed "s/The name of.*/$N\\",/" template.json > $T && cp $T $F.json',
    "a name of an editor": (
        'sed "s/The name of.*/$N\\",/" template.json > $F.json.tmp && mv $F.json.tmp $F.json'
    ),
    "vim": 'vim -es -u NONE -c "%s/The name of.*/$N\\",/" -c "w! $F.json" -c q template.json',
    "vim on a copy": (
        'cp template.json $F.json && vim -es -u NONE -c "%s/The name of.*/$N\\",/" -c wq $F.json'
    ),
    "python": f'{sys.executable} -c "{_PYTHON}" "$N" $F.json',
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_saved_text_becomes_a_dataset(
    sandbox: RunningSandbox, writer: Drive, tmp_path: Path, way: str
) -> None:
    name, file = f"Minted by {way}", f"by-{way.replace(' ', '-')}"
    done = _run(f"N='{name}' F={file} T={tmp_path}/text; {_WAYS[way]}", writer)
    assert done.returncode == 0, done.stderr
    (handle,) = _handles(sandbox, name)
    directory = handle.replace("/", "-")
    folder = writer.path / "mint"
    assert {f"{file}.json", file} <= set(os.listdir(folder))
    assert not [left for left in os.listdir(folder) if left.startswith((".", "sed", "4913"))]
    assert os.readlink(folder / file) == f"../{directory}"
    assert os.getxattr(folder / f"{file}.json", "user.provena.handle").decode() == handle
    assert stat.S_IMODE((folder / f"{file}.json").stat().st_mode) == 0o400
    assert directory in os.listdir(writer.path)
    assert name in os.listdir(writer.path / "by-name")
    assert (
        json.loads((folder / file / "metadata.json").read_bytes())["dataset_info"]["name"] == name
    )
    (folder / file / "data/first.txt").write_text("a file")


def test_what_is_there_to_begin_with(writer: Drive) -> None:
    folder = writer.path / "mint"
    assert {"last-error.txt", "schema.json", "template.json"} <= set(os.listdir(folder))
    schema = json.loads((folder / "schema.json").read_bytes())
    assert {"associations", "approvals", "dataset_info"} <= set(schema["properties"])
    for name in ("schema.json", "template.json"):
        with pytest.raises(PermissionError):
            (folder / name).write_text("{}")
        with pytest.raises(PermissionError):
            (folder / name).unlink()
    for name in ("notes.txt", ".git"):
        with pytest.raises(PermissionError):
            (folder / name).write_text("x")
        assert not (folder / name).exists()
    with pytest.raises(PermissionError):
        (writer.path / "new").mkdir()
    assert "mint/" in writer.log


def test_the_template_as_it_is_mints_nothing(sandbox: RunningSandbox, writer: Drive) -> None:
    done = _run("cp template.json untouched.json && cat untouched.json", writer)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dataset_info"]["name"] == "The name of the dataset"
    assert _handles(sandbox, "The name of the dataset") == []
    (writer.path / "mint/untouched.json").unlink()
    assert not (writer.path / "mint/untouched.json").exists()


def test_once_only(sandbox: RunningSandbox, writer: Drive) -> None:
    path = writer.path / "mint/once.json"
    text = _text(writer, "Minted once")
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        file.write("\n")
        with pytest.raises(PermissionError):
            file.close()
    (handle,) = _handles(sandbox, "Minted once")
    assert f"already minted as {handle}" in _words(writer)
    other = path.with_name("once.json.tmp")
    other.write_text(text)
    for attempt in (
        lambda: path.write_text(text),
        lambda: other.rename(path),
        lambda: path.rename(path.with_name("twice.json")),
        lambda: os.truncate(path, 0),
        path.unlink,
    ):
        with pytest.raises(PermissionError):
            attempt()
    other.unlink()
    assert path.read_text() == text
    assert _handles(sandbox, "Minted once") == [handle]


def _without(member: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["dataset_info"].pop(member)


def _with(member: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["dataset_info"].update({member: value})


_REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no license": (_without("license"), "license"),
    "an unknown field": (_with("colour", "blue"), "colour"),
    "a wrong date": (_with("created_date", {"relevant": True, "value": "31.2.2024"}), "date"),
    "bad coordinates": (_with("spatial_info", {"coverage": "SRID=4326;POINT(x)"}), "coverage"),
    "contradicting flags": (
        lambda document: document["approvals"].update(
            {"ethics_access": {"relevant": False, "obtained": True}}
        ),
        "relevant",
    ),
    "no organisation": (
        lambda document: document["associations"].update({"organisation_id": "10378.1/1"}),
        "rganisation",
    ),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_what_is_refused_can_be_corrected(
    sandbox: RunningSandbox, writer: Drive, case: str
) -> None:
    change, word = _REFUSED[case]
    name = f"Corrected: {case}"
    document = _metadata(writer, name)
    change(document)
    path = writer.path / "mint" / f"{case.replace(' ', '-')}.json"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        path.write_text(json.dumps(document))
    assert word in _words(writer)
    assert _handles(sandbox, name) == []
    assert json.loads(path.read_bytes()) == document
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(_text(writer, name))
    assert len(_handles(sandbox, name)) == 1


@pytest.mark.parametrize(
    ("text", "word"), [("{", "line 1"), ("[]", "object"), ("\x00", "JSON"), ('{"a": NaN}', "NaN")]
)
def test_what_is_no_metadata(writer: Drive, text: str, word: str) -> None:
    path = writer.path / "mint/none.json"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        path.write_text(text)
    assert word in _words(writer)
    path.unlink()


def test_too_much_of_it(writer: Drive) -> None:
    path = writer.path / "mint/large.json"
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        path.write_bytes(b" " * (10 * 1024**2 + 1))
    path.unlink()


def test_a_refused_rename_changes_nothing(sandbox: RunningSandbox, writer: Drive) -> None:
    folder = writer.path / "mint"
    draft, beside = folder / "kept.json", folder / "kept.json.tmp"
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        draft.write_text("{ a draft")
    beside.write_text("{ another")
    for target in (draft, folder / "fresh.json"):
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            beside.rename(target)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.truncate(draft, 1)
    assert not (folder / "fresh.json").exists()
    assert draft.read_text() == "{ a draft"
    assert beside.read_text() == "{ another"
    beside.write_text(_text(writer, "Minted by a rename"))
    beside.rename(draft)
    assert not beside.exists()
    (handle,) = _handles(sandbox, "Minted by a rename")
    assert os.getxattr(draft, "user.provena.handle").decode() == handle


def test_a_rename_of_what_is_open_mints_once(sandbox: RunningSandbox, writer: Drive) -> None:
    folder = writer.path / "mint"
    replaced = (folder / "twice.json").open("w")
    replaced.write(_text(writer, "Replaced before its close"))
    replaced.flush()
    beside = folder / "twice.json.tmp"
    beside.write_text(_text(writer, "Renamed while open"))
    with (folder / "twice.json.tmp").open("r+") as file:
        beside.rename(folder / "twice.json")
        assert file.read() == (folder / "twice.json").read_text()
    replaced.close()
    assert len(_handles(sandbox, "Renamed while open")) == 1
    assert _handles(sandbox, "Replaced before its close") == []


def test_drafts_take_a_bounded_memory_and_give_it_back(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    folder, text = drive.path / "mint", b"{" + b" " * (8 * 1024**2)
    written = []
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        for number in range(200):
            path = folder / f"{number}.json"
            try:
                path.write_bytes(text)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            written.append(path)
    assert len(written) == 23
    assert _resident(drive.pid) < 800 * 1024**2
    assert "not stored" in _words(drive)
    written[0].unlink()
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        (folder / "23.json").write_bytes(text)


def _resident(pid: int) -> int:
    """The memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.parametrize("user", ["bob", "carol", "admin"])
def test_who_may(sandbox: RunningSandbox, mount_as: MountAs, user: str) -> None:
    drive = mount_as(user)
    name = f"Minted by {user}"
    roles = sandbox.api(
        user, "GET", f"{sandbox.running.datastore}/check-access/check-write-access"
    ).status_code
    path = drive.path / "mint/own.json"
    if roles == 200:
        path.write_text(_text(drive, name))
        assert sandbox.item(_handles(sandbox, name)[0])["owner_username"] == user
        return
    with pytest.raises(PermissionError):
        path.write_text(_text(drive, name))
    assert _handles(sandbox, name) == []
    assert _words(drive)


def test_a_read_only_mount_mints_nothing(sandbox: RunningSandbox, mount_as: MountAs) -> None:
    drive = mount_as("alice", "--read-only")
    text = _text(drive, "Not minted")
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        (drive.path / "mint/no.json").write_text(text)
    assert _handles(sandbox, "Not minted") == []


# Bad days


@pytest.fixture
def api(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    """A proxy before the services."""
    with fault_proxy(sandbox.running.datastore.rpartition("/")[0]) as proxy:
        yield proxy


def _services(sandbox: RunningSandbox, api: FaultProxy) -> tuple[str, str]:
    return sandbox.running.datastore.rpartition("/")[0], api.address


def _mints(api: FaultProxy) -> int:
    return api.count(lambda request: request.path.endswith("/mint-dataset"))


def test_an_answer_that_is_lost(
    sandbox: RunningSandbox, mount_as: MountAs, api: FaultProxy
) -> None:
    drive = mount_as("alice", services=_services(sandbox, api))
    text = _text(drive, "Answer lost")
    api.fail(lambda request: request.path.endswith("/mint-dataset"), lose_answer(), times=1)
    (drive.path / "mint/lost.json").write_text(text)
    (handle,) = _handles(sandbox, "Answer lost")
    assert os.getxattr(drive.path / "mint/lost.json", "user.provena.handle").decode() == handle
    assert _mints(api) == 1


def test_a_service_that_fails(sandbox: RunningSandbox, mount_as: MountAs, api: FaultProxy) -> None:
    drive = mount_as("alice", services=_services(sandbox, api))
    text = _text(drive, "Second attempt")
    path = drive.path / "mint/second.json"
    api.fail(lambda request: request.path.endswith("/mint-dataset"), answer("500 No"), times=1)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        path.write_text(text)
    assert "no dataset was minted" in _words(drive)
    assert path.read_text() == text
    path.write_text(text)
    assert len(_handles(sandbox, "Second attempt")) == 1
    assert list((drive.home / "state/mints").rglob("*.json")) == []


def test_killed_before_the_answer(sandbox: RunningSandbox, tmp_path: Path, api: FaultProxy) -> None:
    home = tmp_path / "home"
    with mounted(sandbox, "alice", home, services=_services(sandbox, api)) as drive:
        text = _text(drive, "Killed")
        api.fail(lambda request: request.path.endswith("/mint-dataset"), lose_answer())
        api.fail(lambda request: request.path.endswith("/registry/items/list"), stall())
        saving = subprocess.Popen(
            [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])",
             drive.path / "mint/killed.json", text],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_until(lambda: len(_handles(sandbox, "Killed")) == 1)
            pid = drive.pid
            os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: has_ended(pid))
        finally:
            api.heal()
            subprocess.run(["fusermount3", "-uz", drive.path], check=False)
            saving.wait(20)
    with mounted(sandbox, "alice", home) as drive:
        path = drive.path / "mint/again.json"
        path.write_text(text)
        (handle,) = _handles(sandbox, "Killed")
        assert os.getxattr(path, "user.provena.handle").decode() == handle


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
