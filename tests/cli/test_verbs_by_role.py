"""Each verb as each person on each kind of dataset: done, or refused as the roles say."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.support.dataset_kinds import CAROL, KINDS, make, may
from tests.support.running_sandbox import RunningSandbox
from tests.support.verbs import ALICE, PEOPLE, Verbs

REFUSED = 5
_FILE = "data.csv"


@pytest.fixture(scope="module")
def handles(sandbox: RunningSandbox) -> dict[str, str]:
    """A dataset of each kind with one file."""
    return {kind: make(sandbox, kind, {_FILE: b"a,b\n1,2\n"}) for kind in KINDS}


def _refused(verbs: Verbs, *arguments: str, other: int = 0) -> set[str]:
    """To whom a verb is refused; for the others it must end with status `other`."""
    statuses = verbs.statuses(*arguments)
    assert set(statuses.values()) <= {REFUSED, other}, statuses
    return {user for user, status in statuses.items() if status == REFUSED}


def _without(kind: str, what: str) -> set[str]:
    return {user for user in PEOPLE if getattr(may(kind, user), what)}


@pytest.mark.parametrize("kind", ["open", "private", "files alone", "editors"])
def test_looking(verbs: Verbs, handles: dict[str, str], kind: str) -> None:
    blind = _without(kind, "see")
    for verb in (
        ("info", handles[kind]),
        ("metadata", "show", handles[kind]),
        ("metadata", "history", handles[kind]),
        ("metadata", "diff", handles[kind], "0", "0"),
        ("review", "list", handles[kind]),
        ("lock-history", handles[kind]),
    ):
        assert _refused(verbs, *verb) == blind, verb


@pytest.mark.parametrize("kind", ["open", "released", "locked", "record", "writers", "admins"])
def test_files(verbs: Verbs, handles: dict[str, str], kind: str) -> None:
    handle = handles[kind]
    without_files = _without(kind, "fetch")
    assert _refused(verbs, "manifest", handle) == without_files
    if kind in ("open", "record"):
        assert _refused(verbs, "verify", handle) == without_files
    assert _refused(verbs, "credentials", handle) == without_files
    assert _refused(verbs, "share", handle, _FILE, "--yes") == _without(kind, "share")
    assert _refused(verbs, "credentials", handle, "--write") == _without(kind, "change")
    (row,) = csv.DictReader(io.StringIO(verbs.run("alice", "manifest", handle).stdout))
    assert (row["path"], row["size"]) == (_FILE, "8")


@pytest.mark.parametrize("kind", ["open", "released", "locked", "editors", "writers", "admins"])
def test_changing_the_record(
    verbs: Verbs, handles: dict[str, str], tmp_path: Path, kind: str
) -> None:
    handle = handles[kind]
    document = json.loads(verbs.run("admin", "metadata", "show", handle).stdout)
    for user in PEOPLE:
        document["dataset_info"]["purpose"] = f"Edited by {user}"
        (tmp_path / "new.json").write_text(json.dumps(document))
        edit = ("metadata", "edit", handle, "--file", str(tmp_path / "new.json"))
        status = REFUSED if may(kind, user).edit else 0
        verbs.run(user, *edit, "--reason", "to try", status=status)
        verbs.run(user, "metadata", "revert", handle, "0", "--reason", "no", "--yes", status=status)


@pytest.mark.parametrize("kind", ["open", "released", "locked", "record", "admins"])
def test_governing(verbs: Verbs, handles: dict[str, str], kind: str) -> None:
    handle = handles[kind]
    locked = kind == "locked"
    for user in PEOPLE:
        status = REFUSED if may(kind, user).govern else 0
        lock = ("lock", handle, "--reason", "r", "--yes")
        unlock = ("unlock", handle, "--reason", "r", "--yes")
        for verb in (unlock, lock) if locked else (lock, unlock):
            verbs.run(user, *verb, status=status)
        # To look at the settings takes the role alone, to change them the realm's for writing too.
        looking = 0 if (kind, user) == ("admins", "bob") else status
        verbs.run(user, "access", "show", handle, status=looking)
        everybody = ",".join(KINDS[kind].general)
        verbs.run(user, "access", "set", handle, f"--everybody={everybody}", "--yes", status=status)


@pytest.mark.parametrize("kind", ["open", "private", "team", "record", "admins"])
def test_a_release_is_asked_for_by_those_who_govern(
    verbs: Verbs, sandbox: RunningSandbox, kind: str
) -> None:
    for user in PEOPLE:
        handle = make(sandbox, kind, {})
        request = ("review", "request", handle, "--reviewer", CAROL, "--notes", "n", "--yes")
        verbs.run(user, *request, status=REFUSED if may(kind, user).govern else 0)


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_release_is_decided_on_by_the_reviewer_who_was_asked(
    verbs: Verbs, sandbox: RunningSandbox, decision: str
) -> None:
    for user in PEOPLE:
        handle = make(sandbox, "pending", {})
        decide = ("review", decision, handle, "--notes", "n", "--yes")
        verbs.run(user, *decide, status=0 if user == "carol" else REFUSED)


def test_what_is_about_no_dataset(verbs: Verbs, tmp_path: Path) -> None:
    valid = tmp_path / "valid.json"
    valid.write_text(verbs.run("alice", "metadata", "show", "10378.1/1451870").stdout)
    assert _refused(verbs, "metadata", "validate", str(valid)) == {"dave"}
    assert _refused(verbs, "search", "penguins") == {"dave"}
    assert _refused(verbs, "health") == set()
    assert _refused(verbs, "reviewers", "list") == {"bob", "dave"}
    no_admin = {"alice", "bob", "carol", "dave"}
    assert _refused(verbs, "reviewers", "add", ALICE, "--yes") == no_admin
    assert _refused(verbs, "reviewers", "remove", ALICE, "--yes") == no_admin


def test_inboxes(verbs: Verbs, sandbox: RunningSandbox) -> None:
    handle = make(sandbox, "pending", {})
    assert handle in [row["handle"] for row in verbs.ask("carol", "review", "inbox")]
    for user in ("alice", "admin"):
        assert handle not in [row["handle"] for row in verbs.ask(user, "review", "inbox")]
    for user in ("bob", "dave"):
        told = verbs.run(user, "review", "inbox", status=2).stderr
        assert "not linked to a Person" in told
