"""What a mount shows: names, documents, links, attributes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounting import Drive, MountAs
from tests.support.paper_rules import check_cff, check_crate
from tests.support.running_sandbox import RunningSandbox

OCEAN = "10378.1/1451860"
PENGUINS = "10378.1/1451870"
TABLES = "10378.1/1451880"
SURVEY = ("10378.1/1451910", "10378.1/1451920", "10378.1/1451930")
RELEASED = "10378.1/1451940"
PENDING = "10378.1/1451950"
LOCKED = "10378.1/1451960"
METADATA_ONLY = "10378.1/1451970"
ELSEWHERE = "10378.1/1451980"


def test_the_root_has_one_directory_per_visible_dataset(
    sandbox: RunningSandbox, alice: Drive
) -> None:
    names = os.listdir(alice.path)
    assert {".provenafs", "by-name", "search"} <= set(names)
    assert OCEAN.replace("/", "-") in names
    assert "10378.1-1452000" not in names  # carol's own
    assert len(names) == len(set(names))


def test_every_file_of_every_dataset_holds_the_bytes_that_were_put_in(
    sandbox: RunningSandbox, alice: Drive
) -> None:
    compared = 0
    for handle, files in sandbox.manifest.items():
        if not os.access(alice.dataset(handle), os.F_OK) or handle == METADATA_ONLY:
            continue
        found = {
            str(path.relative_to(alice.data(handle))): path
            for path in alice.data(handle).rglob("*")
            if path.is_file()
        }
        expected_files = {name: seen for name, seen in files.items() if not name.endswith("/")}
        assert found.keys() == expected_files.keys(), handle
        for name, expected in expected_files.items():
            content = found[name].read_bytes()
            assert len(content) == expected["size"]
            assert hashlib.sha256(content).hexdigest() == expected["sha256"], name
            compared += 1
    assert compared > 5000


def test_metadata_json_is_the_stored_document_to_the_byte(
    sandbox: RunningSandbox, alice: Drive
) -> None:
    for handle in (OCEAN, PENGUINS, ELSEWHERE):
        shown = (alice.dataset(handle) / "metadata.json").read_bytes()
        key = f"{sandbox.prefix(handle)}metadata.json"
        stored = sandbox.s3().get_object(Bucket=sandbox.bucket, Key=key)["Body"].read()
        assert shown == stored
        assert (alice.dataset(handle) / "metadata.json").stat().st_size == len(stored)


def test_the_servers_own_metadata_object_is_not_among_the_files(alice: Drive) -> None:
    assert not (alice.data(PENGUINS) / "metadata.json").exists()
    assert "metadata.json" not in os.listdir(alice.data(PENGUINS))


def test_an_empty_folder_is_a_directory(alice: Drive) -> None:
    assert list((alice.data(TABLES) / "an empty folder").iterdir()) == []


def test_the_version_chain_is_links(alice: Drive) -> None:
    for handle in SURVEY:
        versions = alice.dataset(handle) / "versions"
        assert sorted(os.listdir(versions)) == ["latest", "metadata", "v1", "v2", "v3"]
        assert os.readlink(versions / "latest") == "v3"
        for number, target in enumerate(SURVEY, start=1):
            assert os.readlink(versions / f"v{number}") == f"../../{target.replace('/', '-')}"
            assert (versions / f"v{number}" / "metadata.json").exists()
    with pytest.raises(FileNotFoundError):
        (alice.dataset(OCEAN) / "versions/v2").lstat()


def test_the_history_has_a_file_per_entry_with_who_and_why(
    sandbox: RunningSandbox, alice: Drive
) -> None:
    history = sandbox.item(PENGUINS)["history"]
    folder = alice.dataset(PENGUINS) / "versions/metadata"
    assert sorted(os.listdir(folder)) == sorted(f"{entry['id']}.json" for entry in history)
    assert len(history) > 1
    for entry in history:
        file = folder / f"{entry['id']}.json"
        name = entry["item"]["collection_format"]["dataset_info"]["name"]
        assert json.loads(file.read_bytes())["dataset_info"]["name"] == name
        assert file.stat().st_mtime == entry["timestamp"]
        assert os.getxattr(file, "user.provena.username").decode() == entry["username"]
        assert os.getxattr(file, "user.provena.reason").decode() == entry["reason"]


def test_record_json_is_the_whole_item(sandbox: RunningSandbox, alice: Drive) -> None:
    file = alice.dataset(OCEAN) / ".provena/record.json"
    document = json.loads(file.read_bytes())
    assert document["item"] == sandbox.item(OCEAN)
    assert document["locked"] is False
    assert "admin" in document["roles"]
    assert file.stat().st_size == len(file.read_bytes())


def test_every_dataset_has_a_valid_citation_and_crate(alice: Drive, bob: Drive) -> None:
    """Made from the record: without a role on the files too."""
    handles = [name for name in os.listdir(alice.path) if name.startswith("10378.1-")]
    assert len(handles) > 10
    for folder in (*(alice.path / name for name in handles), bob.dataset(METADATA_ONLY)):
        papers = folder / ".provena"
        url = "https://hdl.handle.net/" + os.getxattr(folder, "user.provena.handle").decode()
        record = json.loads((papers / "record.json").read_bytes())["item"]
        title = record["collection_format"]["dataset_info"]["name"]
        citation = (papers / "citation.cff").read_bytes()
        assert check_cff(citation, url)["title"] == title
        crate = (papers / "ro-crate-metadata.json").read_bytes()
        assert check_crate(crate, url)[url]["name"] == title
        assert (papers / "citation.cff").stat().st_size == len(citation)
        assert (papers / "ro-crate-metadata.json").stat().st_size == len(crate)


def test_by_name_has_a_link_per_dataset(sandbox: RunningSandbox, alice: Drive) -> None:
    names = alice.path / "by-name"
    links = {link.name: os.readlink(link) for link in names.iterdir()}
    assert links["Palmer penguins"] == "../10378.1-1451870"
    assert links["Rainfall"] == "../10378.1-1452020"
    assert links["Rainfall [10378.1-1452030]"] == "../10378.1-1452030"
    assert links["CO₂%2Ftemperature: daily%2Fhourly"] == "../10378.1-1452040"
    assert "10378.1-1452050" in links["%2E."]
    assert (names / "Palmer penguins" / "data" / "penguins.csv").is_file()


def test_a_search_is_a_directory_of_ranked_links(alice: Drive) -> None:
    found = alice.path / "search" / "reef survey"
    results = json.loads((found / "results.json").read_bytes())
    assert results["query"] == "reef survey"
    ids = [hit["id"] for hit in results["results"]]
    assert set(SURVEY) <= set(ids)
    links = sorted(name for name in os.listdir(found) if name != "results.json")
    assert links == [
        f"{rank:02} {hit['name']} [{hit['id'].replace('/', '-')}]".replace("/", "%2F")
        for rank, hit in enumerate(results["results"], start=1)
    ]
    assert all((found / link / "metadata.json").exists() for link in links)
    assert os.listdir(alice.path / "search") == []


def test_a_hit_that_is_not_for_the_user_has_no_link(mount_as: MountAs) -> None:
    found = mount_as("bob").path / "search" / "private drafts"
    names = {
        hit["id"]: hit["name"]
        for hit in json.loads((found / "results.json").read_bytes())["results"]
    }
    assert names["10378.1/1451990"] is None
    assert not any("10378.1-1451990" in name for name in os.listdir(found))
    assert all((found / name).exists() for name in os.listdir(found))


def test_names_that_are_no_handles_and_unknown_handles_are_enoent(alice: Drive) -> None:
    for name in (".Trash-0", ".git", "autorun.inf", "99999.1-1", "10378.1-9999999"):
        with pytest.raises(FileNotFoundError):
            (alice.path / name).lstat()
    for name in ("by-name/.directory", "search/.hidden"):
        with pytest.raises(FileNotFoundError):
            (alice.path / name).lstat()


def test_the_state_of_a_dataset_is_told_by_xattrs(alice: Drive) -> None:
    def told(handle: str, name: str) -> str:
        return os.getxattr(alice.dataset(handle), f"user.provena.{name}").decode()

    assert told(OCEAN, "release_status") == "NOT_RELEASED"
    assert told(RELEASED, "release_status") == "RELEASED"
    assert told(PENDING, "release_status") == "PENDING"
    assert told(LOCKED, "locked") == "true"
    assert "released" in told(RELEASED, "why_readonly")
    assert "locked" in told(LOCKED, "why_readonly")
    assert "dataset-data-write" in told(OCEAN, "roles")
    with pytest.raises(OSError) as refused:
        told(OCEAN, "why_readonly")
    assert refused.value.errno == errno.ENODATA


def test_foreign_xattrs_are_not_supported_rather_than_absent(alice: Drive) -> None:
    for name in ("security.selinux", "system.posix_acl_access", "user.other"):
        with pytest.raises(OSError) as refused:
            os.getxattr(alice.data(PENGUINS) / "penguins.csv", name)
        assert refused.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    ("handle", "mode"), [(OCEAN, 0o755), (RELEASED, 0o755), (LOCKED, 0o555), (METADATA_ONLY, 0)]
)
def test_the_mode_of_data_informs(alice: Drive, handle: str, mode: int) -> None:
    assert stat.S_IMODE(alice.data(handle).stat().st_mode) == mode


def test_data_without_a_role_is_refused_while_metadata_is_readable(alice: Drive) -> None:
    assert json.loads((alice.dataset(METADATA_ONLY) / "metadata.json").read_bytes())
    with pytest.raises(PermissionError):
        os.listdir(alice.data(METADATA_ONLY))
    with pytest.raises(PermissionError):
        (alice.data(METADATA_ONLY) / "anything").stat()
    words = (alice.dataset(METADATA_ONLY) / ".provena/last-error.txt").read_text()
    assert "no data read role" in words


def test_an_externally_hosted_dataset_shows_what_its_folder_holds(alice: Drive) -> None:
    assert os.listdir(alice.data(ELSEWHERE)) == []


def test_mtimes_come_from_the_listing(sandbox: RunningSandbox, alice: Drive) -> None:
    key = f"{sandbox.prefix(PENGUINS)}penguins.csv"
    modified = sandbox.s3().head_object(Bucket=sandbox.bucket, Key=key)["LastModified"]
    shown = (alice.data(PENGUINS) / "penguins.csv").stat().st_mtime
    assert int(shown) == int(modified.timestamp())


def test_blocks_never_say_less_than_the_size(alice: Drive) -> None:
    """tar --sparse and cp --sparse take missing blocks for zeros."""
    for path in alice.data(OCEAN).rglob("*.nc"):
        found = path.stat()
        assert found.st_blocks * 512 >= found.st_size


def test_outside_data_nothing_can_be_changed(alice: Drive) -> None:
    attempts: dict[int, list[Callable[[], object]]] = {
        errno.EPERM: [
            lambda: os.mkdir(alice.path / "new"),
            lambda: os.unlink(alice.dataset(OCEAN) / ".provena/record.json"),
            lambda: os.rename(alice.dataset(OCEAN), alice.path / "10378.1-1"),
            lambda: os.rmdir(alice.dataset(OCEAN)),
            lambda: os.symlink("a", alice.path / "b"),
        ],
        errno.EACCES: [
            lambda: (alice.dataset(OCEAN) / ".provena/record.json").write_bytes(b"x"),
        ],
    }
    for expected, calls in attempts.items():
        for attempt in calls:
            with pytest.raises(OSError) as refused:
                attempt()
            assert refused.value.errno == expected


def test_status_json_is_a_snapshot_made_at_open(alice: Drive) -> None:
    before = alice.status()["operations"]
    Path(alice.path / "by-name").stat()
    assert alice.status()["operations"]["open"] > before["open"]
    assert alice.status()["user"] == "alice"
