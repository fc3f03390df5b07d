"""Datasets that Provena itself would not make: shown as far as can be, hiding no other."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.mounting import MountAs, has_ended, is_mounted
from tests.support.running_sandbox import RunningSandbox, run_cli

UUID = "12345678-e29b-41d4-a716-446655440000"
LONG = "x" * 300
NAMES = {
    "10378.1/ABC123": "10378.1-ABC123",
    UUID: "12345678%2De29b-41d4-a716-446655440000",
    " ": "%20",
    "..": "%2E.",
}


@pytest.fixture(scope="module", autouse=True)
def odd(sandbox: RunningSandbox) -> Iterator[None]:
    """Datasets of alice under other handles than those they were minted with."""
    handles = [*NAMES, LONG]
    for handle in handles:
        _rename(sandbox, sandbox.mint("alice", f"Odd {handle[:10]}"), handle)
    yield
    with closing(sqlite3.connect(sandbox.state.database, timeout=10)) as database, database:
        for handle in handles:
            database.execute("DELETE FROM items WHERE id = ?", (handle,))
            database.execute("DELETE FROM documents WHERE id = ?", (handle,))


def _rename(sandbox: RunningSandbox, minted: str, handle: str) -> None:
    with closing(sqlite3.connect(sandbox.state.database, timeout=10)) as database, database:
        (text,) = database.execute("SELECT document FROM items WHERE id = ?", (minted,)).fetchone()
        document = json.dumps(json.loads(text) | {"id": handle})
        database.execute(
            "UPDATE items SET id = ?, document = ? WHERE id = ?", (handle, document, minted)
        )
        database.execute("UPDATE documents SET id = ? WHERE id = ?", (handle, minted))


def test_all_that_can_have_a_name_is_shown(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    shown = os.listdir(drive.path)
    assert set(NAMES.values()) <= set(shown)
    assert "10378.1-1451860" in shown
    for handle, name in NAMES.items():
        record = json.loads((drive.path / name / ".provena/record.json").read_text())
        assert record["item"]["id"] == handle
        assert os.listdir(drive.path / name / "data") == []
        assert (drive.path / name / "metadata.json").stat().st_size > 0
    assert (drive.path / "by-name" / "Odd  " / "metadata.json").exists()
    for probed in ("autorun.inf", "nothing", "%41", "10378.1%2D1451860"):
        assert not (drive.path / probed).exists()


def test_what_can_have_no_name_is_told(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    os.listdir(drive.path)
    sentence = "the item's id cannot be a directory's name"
    assert drive.status()["not_shown"] == [sentence]
    assert drive.log.count(f"left out of the list: {sentence}") == 1
    told = run_cli(drive.environ, "status")
    assert f"  not shown: {sentence}" in told.stdout


@pytest.mark.parametrize("handle", NAMES)
def test_a_mount_of_one_of_them_works_and_ends(mount_as: MountAs, handle: str) -> None:
    # By its directory's name: as it stands it may read as another.
    drive = mount_as("alice", "--dataset", NAMES[handle])
    assert NAMES[handle] in os.listdir(drive.path)
    assert os.listdir(drive.path / NAMES[handle] / "data") == []
    pid = drive.pid
    done = run_cli(drive.environ, "umount", str(drive.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert has_ended(pid)
    assert not is_mounted(drive.path)


@pytest.mark.parametrize("handle", ["", LONG])
def test_what_is_no_handle_is_refused_in_words(
    sandbox: RunningSandbox, handle: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mount")
    done = run_cli(sandbox.env("alice"), "mount", "--dataset", handle, str(path))
    assert done.returncode == 2
    assert "is not a handle" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_verbs_know_them_by_handle_and_by_directory(
    sandbox: RunningSandbox, mount_as: MountAs
) -> None:
    drive = mount_as("alice")
    for target in (UUID, "10378.1/ABC123", str(drive.path / "%2E." / "data")):
        done = run_cli(drive.environ, "info", target, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["handle"] in (UUID, "10378.1/ABC123", "..")


def test_a_bucket_that_is_gone_is_told_and_hides_no_other(
    sandbox: RunningSandbox, mount_as: MountAs
) -> None:
    handle = sandbox.mint("alice", "Gone")
    client = sandbox.s3()
    client.create_bucket(Bucket="gone")
    prefix = sandbox.prefix(handle)
    location = {"bucket_name": "gone", "path": prefix, "s3_uri": f"s3://gone/{prefix}"}
    with closing(sqlite3.connect(sandbox.state.database, timeout=10)) as database, database:
        (text,) = database.execute("SELECT document FROM items WHERE id = ?", (handle,)).fetchone()
        document = json.dumps(json.loads(text) | {"s3": location})
        database.execute("UPDATE items SET document = ? WHERE id = ?", (document, handle))
    client.put_object(Bucket="gone", Key=f"{prefix}f", Body=b"one\n")
    drive = mount_as("alice", "--ttl", "0")
    stored = drive.data(handle) / "f"
    with stored.open("a") as file:
        client.delete_object(Bucket="gone", Key=f"{prefix}f")
        client.delete_bucket(Bucket="gone")
        file.write("two\n")
        with pytest.raises(OSError) as refused:
            file.close()
    assert refused.value.errno == errno.EIO
    with pytest.raises(OSError) as refused:
        os.listdir(drive.data(handle))
    assert refused.value.errno == errno.EIO
    told = (drive.dataset(handle) / ".provena/last-error.txt").read_text()
    assert "the bucket does not exist: report it to the data store's administrator" in told
    assert os.listdir(drive.data("10378.1/1451860"))
