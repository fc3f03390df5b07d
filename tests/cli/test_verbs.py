"""The verbs that act on the data store, as the people of the sandbox."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.running_sandbox import RunningSandbox, run_cli

TABLES = "10378.1/1451880"
PRIVATE = "10378.1/1451990"
CAROL = "10378.1/1451801"


def run(
    sandbox: RunningSandbox, user: str, *arguments: str, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a verb as a user."""
    done = run_cli(sandbox.env(user), *arguments)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if status not in (0, 1):
        assert len(done.stderr.strip().splitlines()) == 1
    return done


def answer(sandbox: RunningSandbox, user: str, *arguments: str) -> Any:
    """What a verb says to machines."""
    return json.loads(run(sandbox, user, *arguments, "--json").stdout)


def test_metadata_is_shown_compared_edited_and_reverted(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    handle = sandbox.mint("alice", "Edited by a verb")
    text = run(sandbox, "alice", "metadata", "show", handle).stdout
    document = json.loads(text)
    file = tmp_path / "new.json"
    document["dataset_info"]["description"] = "Edited"
    file.write_text(json.dumps(document))
    run(sandbox, "alice", "metadata", "validate", str(file))
    edit = ("metadata", "edit", handle, "--file", str(file), "--reason", "a better description")
    assert "is saved" in run(sandbox, "alice", *edit).stdout
    assert "No changes" in run(sandbox, "alice", *edit).stdout
    newest, _ = answer(sandbox, "alice", "metadata", "history", handle)
    assert newest["reason"] == "a better description"
    assert "Edited" in run(sandbox, "alice", "metadata", "diff", handle, "0", status=1).stdout
    revert = ("metadata", "revert", handle, "0", "--reason", "a mistake")
    assert "pass --yes" in run(sandbox, "alice", *revert, status=2).stderr
    assert answer(sandbox, "alice", *revert, "--yes") == {"handle": handle, "state": 0}
    assert run(sandbox, "alice", "metadata", "show", handle).stdout == text
    run(sandbox, "bob", *revert, "--yes", status=5)
    run(sandbox, "alice", "metadata", "revert", handle, "9", "--reason", "r", "--yes", status=4)
    run(sandbox, "alice", "metadata", "revert", handle, "0", "--reason", " ", "--yes", status=2)


def test_bad_metadata_is_refused_in_words(sandbox: RunningSandbox, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text("{ not json")
    assert "line 1" in run(sandbox, "alice", "metadata", "validate", str(file), status=7).stderr
    file.write_text('{"dataset_info": {}}')
    run(sandbox, "alice", "metadata", "validate", str(file), status=7)
    file.write_bytes(b'{"\xff": 1}')
    edit = ("metadata", "edit", TABLES, "--file", str(file), "--reason", "r")
    assert "not UTF-8" in run(sandbox, "alice", *edit, status=7).stderr
    file.unlink()
    assert "cannot be read" in run(sandbox, "alice", *edit, status=2).stderr


def test_locks_and_access(sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "Locked by a verb")
    lock = ("lock", handle, "--reason", "recount", "--yes")
    run(sandbox, "bob", *lock, status=5)
    run(sandbox, "alice", *lock)
    run(sandbox, "alice", *lock, status=7)
    unlocked = answer(sandbox, "alice", "unlock", handle, "--reason", "done", "--yes")
    assert unlocked == {"handle": handle, "locked": False}
    events = answer(sandbox, "alice", "lock-history", handle)
    assert [event["action_type"] for event in events] == ["LOCK", "UNLOCK"]
    run(sandbox, "alice", "access", "set", handle, "--everybody", "metadata-read", "--yes")
    assert answer(sandbox, "alice", "access", "show", handle)["general"] == ["metadata-read"]
    assert answer(sandbox, "bob", "info", handle)["roles"] == ["metadata-read"]
    run(sandbox, "alice", "access", "set", handle, "--everybody", "no-role", "--yes", status=7)
    run(sandbox, "bob", "access", "show", handle, status=5)


def test_a_review_from_request_to_release(sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "Reviewed by a verb")
    assert CAROL in answer(sandbox, "alice", "reviewers", "list")
    decide = ("review", "approve", handle, "--notes", "good", "--yes")
    run(sandbox, "carol", *decide, status=7)  # nothing is pending
    request = ("review", "request", handle, "--reviewer", CAROL, "--notes", "please", "--yes")
    assert answer(sandbox, "alice", *request)["reviewer"] == CAROL
    run(sandbox, "alice", *request, status=7)
    assert handle in [row["handle"] for row in answer(sandbox, "carol", "review", "inbox")]
    run(sandbox, "bob", *decide, status=5)
    run(sandbox, "carol", "review", "reject", handle, "--notes", "not yet", "--yes")
    run(sandbox, "alice", *request)
    run(sandbox, "carol", *decide)
    assert answer(sandbox, "alice", "info", handle)["release_status"] == "RELEASED"
    actions = [event["action"] for event in answer(sandbox, "alice", "review", "list", handle)]
    assert actions == ["REQUEST", "REJECT", "REQUEST", "APPROVE"]
    run(sandbox, "alice", "reviewers", "add", "10378.1/1451800", "--yes", status=5)


def test_a_review_of_nobody_is_stored_and_told(sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "Reviewed by nobody")
    run(sandbox, "admin", "reviewers", "add", TABLES, "--yes")
    try:
        request = ("review", "request", handle, "--reviewer", TABLES, "--notes", "n", "--yes")
        told = answer(sandbox, "alice", *request)["details"]
    finally:
        run(sandbox, "admin", "reviewers", "remove", TABLES, "--yes")
    assert told.startswith(f"The review of {handle} is requested; the service failed afterwards")
    assert answer(sandbox, "alice", "info", handle)["release_status"] == "PENDING"


def test_a_review_of_a_locked_dataset_says_so(sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "Locked in review")
    request = ("review", "request", handle, "--reviewer", CAROL, "--notes", "please", "--yes")
    run(sandbox, "alice", *request)
    run(sandbox, "alice", "lock", handle, "--reason", "hold on", "--yes")
    for decision in ("approve", "reject"):
        done = run(sandbox, "carol", "review", decision, handle, "--notes", "n", "--yes", status=5)
        assert done.stderr == f"provenafs: {handle} is locked: unlock it first\n"


def test_a_legacy_version_member_has_to_go_first(sandbox: RunningSandbox, tmp_path: Path) -> None:
    handle = sandbox.mint("alice", "A legacy record")
    with closing(sqlite3.connect(sandbox.state.database, timeout=10)) as database, database:
        (text,) = database.execute("SELECT document FROM items WHERE id = ?", (handle,)).fetchone()
        item = json.loads(text)
        item["collection_format"]["dataset_info"]["version"] = "1.2"
        changed = (json.dumps(item), handle)
        database.execute("UPDATE items SET document = ? WHERE id = ?", changed)
    version = ("version", handle, "--reason", "next", "--yes")
    assert (
        "the member 'version' of dataset_info" in run(sandbox, "alice", *version, status=7).stderr
    )
    file = tmp_path / "metadata.json"
    file.write_text(run(sandbox, "alice", "metadata", "show", handle).stdout)
    done = run(sandbox, "alice", "metadata", "validate", str(file), status=7)
    assert "refused: the member 'version' of dataset_info has to go first" in done.stderr
    document = json.loads(file.read_text())
    del document["dataset_info"]["version"]
    file.write_text(json.dumps(document))
    run(sandbox, "alice", "metadata", "edit", handle, "--file", str(file), "--reason", "r")
    run(sandbox, "alice", *version)


def test_a_manifest_lists_and_a_check_finds_faults(sandbox: RunningSandbox) -> None:
    rows = list(csv.DictReader(io.StringIO(run(sandbox, "alice", "manifest", TABLES).stdout)))
    files = {
        name: seen for name, seen in sandbox.manifest[TABLES].items() if not name.endswith("/")
    }
    assert {row["path"]: int(row["size"]) for row in rows} == {
        name: seen["size"] for name, seen in files.items()
    }
    assert [row["path"] for row in answer(sandbox, "alice", "manifest", TABLES)] == [
        row["path"] for row in rows
    ]
    assert answer(sandbox, "alice", "verify", TABLES, "--full") == {
        "checked": len(files),
        "faults": [],
    }
    run(sandbox, "bob", "verify", PRIVATE, status=5)


def test_a_search_takes_several_words(sandbox: RunningSandbox) -> None:
    several = answer(sandbox, "alice", "search", "palmer", "penguins")
    assert several == answer(sandbox, "alice", "search", "palmer penguins")
    assert several


def test_nothing_to_store_is_said(sandbox: RunningSandbox, tmp_path: Path) -> None:
    assert (
        "not in a provenafs mount" in run(sandbox, "alice", "sync", str(tmp_path), status=1).stderr
    )
