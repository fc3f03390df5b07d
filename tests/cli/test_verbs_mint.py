"""mint: registering a dataset with the metadata in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.running_sandbox import RunningSandbox
from tests.support.verbs import PEOPLE, Verbs


@pytest.fixture
def document(verbs: Verbs) -> dict[str, Any]:
    """The template, under a name of its own."""
    template: dict[str, Any] = json.loads(verbs.run("alice", "mint", "--template").stdout)
    template["dataset_info"]["name"] = "From a file"
    return template


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> str:
    """A file with metadata that are taken."""
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_a_file_becomes_a_dataset(verbs: Verbs, sandbox: RunningSandbox, file: str) -> None:
    assert verbs.run("alice", "mint", "--validate-only", file).stdout == f"{file} is valid.\n"
    handle = verbs.run("alice", "mint", file, "--yes").stdout.strip()
    assert sandbox.item(handle)["display_name"] == "From a file"
    other = verbs.ask("alice", "mint", file, "--yes")["handle"]
    assert other != handle


def test_the_standard_input_is_a_file_too(
    verbs: Verbs, sandbox: RunningSandbox, document: dict[str, Any]
) -> None:
    done = verbs.run("alice", "mint", "-", "--yes", stdin=json.dumps(document))
    assert sandbox.item(done.stdout.strip())["owner_username"] == "alice"


def test_it_asks_first(verbs: Verbs, file: str) -> None:
    assert "--yes" in verbs.run("alice", "mint", file, status=2).stderr


def test_who_may(verbs: Verbs, sandbox: RunningSandbox, file: str) -> None:
    url = f"{sandbox.running.datastore}/check-access/check-write-access"
    allowed = {user for user in PEOPLE if sandbox.api(user, "GET", url).status_code == 200}
    assert "alice" in allowed
    statuses = verbs.statuses("mint", file, "--yes")
    assert {user for user, status in statuses.items() if status == 0} == allowed
    assert set(statuses.values()) <= {0, 5}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("{", "line 1"),
        ("[]", "object"),
        ("{}", "field required"),
        (" " * (10 * 1024**2 + 1), "10 MiB"),
    ],
)
def test_what_is_refused(verbs: Verbs, tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    for flags in (["--yes"], ["--validate-only"]):
        assert word in verbs.run("alice", "mint", str(path), *flags, status=7).stderr


def test_wrong_use(verbs: Verbs, file: str, tmp_path: Path) -> None:
    verbs.run("alice", "mint", status=2)
    verbs.run("alice", "mint", file, "--template", status=2)
    assert "cannot be read" in verbs.run("alice", "mint", str(tmp_path / "no"), status=2).stderr
