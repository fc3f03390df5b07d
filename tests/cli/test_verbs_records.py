"""info, search and health, and what a verb takes for a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.mounting import MountAs
from tests.support.running_sandbox import RunningSandbox, run_cli
from tests.support.verbs import (
    EMBARGOED,
    LOCKED,
    NOTEBOOK,
    OCEAN,
    ODD_NAME,
    PENDING,
    PENGUINS,
    PRIVATE,
    RELEASED,
    Verbs,
)


def test_info_names_people_and_organisations(sandbox: RunningSandbox, verbs: Verbs) -> None:
    told = verbs.ask("alice", "info", PENGUINS)
    stated = sandbox.item(PENGUINS)["collection_format"]
    assert told["organisation"]["handle"] == stated["associations"]["organisation_id"]
    assert told["organisation"]["name"]
    assert told["keywords"] == stated["dataset_info"]["keywords"]
    assert told["license"]
    assert told["published"] == stated["dataset_info"]["published_date"]["value"]
    party = "{name} ({handle})".format(**told["organisation"])
    assert party in verbs.run("alice", "info", PENGUINS).stdout


def test_info_tells_state_and_why(verbs: Verbs) -> None:
    told = verbs.ask("alice", "info", RELEASED)
    assert told["release_status"] == "RELEASED"
    assert "released" in told["read_only_because"]
    assert "pending" in verbs.ask("alice", "info", PENDING)["read_only_because"]
    assert "is locked" in verbs.run("alice", "info", LOCKED.replace("/", "-")).stdout
    assert verbs.ask("bob", "info", OCEAN)["roles"] == ["dataset-data-read", "metadata-read"]


@pytest.mark.parametrize(
    ("handle", "refused"),
    [
        (OCEAN, {"dave"}),
        (EMBARGOED, {"dave"}),
        (PRIVATE, {"bob", "carol", "dave"}),
        (NOTEBOOK, {"alice", "bob", "dave"}),
    ],
)
def test_info_is_for_those_who_may_see_it(verbs: Verbs, handle: str, refused: set[str]) -> None:
    statuses = verbs.statuses("info", handle)
    assert {user for user, status in statuses.items() if status == 5} == refused
    assert all(status == 0 for user, status in statuses.items() if user not in refused)


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("10378.1/1", 4, "there is no dataset"),
        ("10378.1-1", 4, "there is no dataset"),
        ("neither", 2, "neither a handle nor a path"),
        ("", 2, "is not in a dataset"),
        ("/tmp", 2, "is not in a dataset"),
        ("/no/such/path", 2, "neither a handle nor a path"),
    ],
)
def test_what_is_no_dataset(verbs: Verbs, target: str, status: int, words: str) -> None:
    assert words in verbs.run("alice", "info", target, status=status).stderr


def test_any_path_in_a_mount_is_a_target(
    mount_as: MountAs,
) -> None:
    drive = mount_as("alice")
    for path in (
        drive.dataset(PENGUINS),
        drive.dataset(PENGUINS) / "metadata.json",
        drive.dataset(PENGUINS) / "versions/latest",
        drive.path / "by-name/Palmer penguins",
        drive.data(PENGUINS),
    ):
        done = run_cli(drive.environ, "info", str(path), "--json")
        assert json.loads(done.stdout)["handle"] == PENGUINS, path
    for path in (drive.path, drive.path / "by-name", drive.data(PENGUINS) / "none"):
        done = run_cli(drive.environ, "info", str(path))
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_handle_is_one_within_a_mount_too(
    verbs: Verbs,
    mount_as: MountAs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drive = mount_as("alice")
    monkeypatch.chdir(drive.path)
    assert verbs.ask("alice", "info", OCEAN)["handle"] == OCEAN
    monkeypatch.chdir(drive.data(PENGUINS))
    assert verbs.ask("alice", "info", ".")["handle"] == PENGUINS
    assert verbs.ask("alice", "info", OCEAN.replace("/", "-"))["handle"] == OCEAN
    monkeypatch.chdir("/")


def test_names_stay_on_their_line(verbs: Verbs, sandbox: RunningSandbox) -> None:
    name = "Größe\n\x1b[31m温度\u202e"
    handle = sandbox.mint("alice", name)
    assert verbs.ask("alice", "info", handle)["name"] == name
    shown = verbs.run("alice", "info", handle).stdout
    assert r"Größe\n\x1b[31m温度\u202e" in shown
    assert "\x1b" not in shown
    assert verbs.ask("alice", "info", ODD_NAME)["name"] == ".."


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_are_printed_in_any_encoding(
    sandbox: RunningSandbox, tmp_path: Path, encoding: str
) -> None:
    handle = sandbox.mint("alice", "温度")
    environ = sandbox.env("alice") | {"PYTHONIOENCODING": encoding}
    done = run_cli(environ, "info", handle)
    assert done.returncode == 0, done.stderr
    assert ("温度" in done.stdout) == (encoding == "utf-8")


def test_a_closed_pipe_is_no_failure(sandbox: RunningSandbox) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_cli(sandbox.env("alice"), "info", OCEAN, stdout=writing)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1


def test_search_finds_what_may_be_seen(verbs: Verbs) -> None:
    (hit, *_) = verbs.ask("alice", "search", "penguins")
    assert (hit["handle"], hit["name"]) == (PENGUINS, "Palmer penguins")
    assert verbs.run("alice", "search", "penguins").stdout.startswith(f"{PENGUINS}\tPalmer")
    hidden = {hit["handle"]: hit["name"] for hit in verbs.ask("bob", "search", "private drafts")}
    assert hidden[PRIVATE] is None
    assert "Nothing was found" in verbs.run("alice", "search", "zzzzqqqq").stdout
    assert "empty" in verbs.run("alice", "search", " ", status=2).stderr
    assert verbs.attempt("alice", "search", "x", "--limit", "0").status == 2
    verbs.run("dave", "search", "penguins", status=5)


def test_health_is_told_of_each_service(verbs: Verbs) -> None:
    answers = {answer["service"]: answer for answer in verbs.ask("dave", "health")}
    assert {"the data store", "the registry", "the login service"} <= set(answers)
    assert all(answer["well"] for answer in answers.values())


def test_health_says_which_service_is_down(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = sandbox.env("alice") | {
        "PROVENAFS_SEARCH_URL": "http://127.0.0.1:9",
        "PROVENAFS_API_TIMEOUT": "2",
    }
    done = run_cli(environ, "health", "--json")
    assert done.returncode == 6
    ill = [answer["service"] for answer in json.loads(done.stdout) if not answer["well"]]
    assert ill == ["the search service"]
