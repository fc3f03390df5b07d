"""The verbs that act on the data store, as the people of the sandbox."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import httpx
import pytest
from mount.conftest import MountAs, mount_as  # noqa: F401  a fixture
from running_sandbox import RunningSandbox, run_cli

OCEAN = "10378.1/1451860"
PENGUINS = "10378.1/1451870"
TABLES = "10378.1/1451880"
RELEASED = "10378.1/1451940"
LOCKED = "10378.1/1451960"
PRIVATE = "10378.1/1451990"
CAROL = "10378.1/1451802"


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


def answer(sandbox: RunningSandbox, user: str, *arguments: str) -> object:
    """What a verb says to machines."""
    return json.loads(run(sandbox, user, *arguments, "--json").stdout)


def test_info_tells_state_and_why(sandbox: RunningSandbox) -> None:
    told = answer(sandbox, "alice", "info", RELEASED)
    assert told["release_status"] == "RELEASED"
    assert "released" in told["read_only_because"]
    assert "is locked" in run(sandbox, "alice", "info", LOCKED.replace("/", "-")).stdout
    assert answer(sandbox, "bob", "info", OCEAN)["roles"] == ["dataset-data-read", "metadata-read"]


@pytest.mark.parametrize(
    ("user", "target", "status", "words"),
    [
        ("alice", "10378.1/1", 4, "there is no dataset"),
        ("alice", "neither", 2, "neither a handle nor a path"),
        ("alice", "/tmp", 2, "does not lie in a dataset"),
        ("bob", PRIVATE, 5, ""),
        ("dave", OCEAN, 5, ""),
    ],
)
def test_what_cannot_be_shown(
    sandbox: RunningSandbox, user: str, target: str, status: int, words: str
) -> None:
    assert words in run(sandbox, user, "info", target, status=status).stderr


def test_any_path_in_a_mount_is_a_target(sandbox: RunningSandbox, mount_as: MountAs) -> None:  # noqa: F811
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


def test_search_finds_and_health_is_well(sandbox: RunningSandbox) -> None:
    (hit, *_) = answer(sandbox, "alice", "search", "penguins")
    assert hit["handle"] == PENGUINS
    assert set(answer(sandbox, "alice", "health")) >= {"the data store", "the registry"}


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
    assert "Nothing was changed" in run(sandbox, "alice", *edit).stdout
    newest, _ = answer(sandbox, "alice", "metadata", "history", handle)
    assert newest["reason"] == "a better description"
    assert "Edited" in run(sandbox, "alice", "metadata", "diff", handle, "0", status=1).stdout
    revert = ("metadata", "revert", handle, "0", "--reason", "a mistake")
    assert "say --yes" in run(sandbox, "alice", *revert, status=2).stderr
    run(sandbox, "alice", *revert, "--yes")
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


def test_locks_and_access(sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "Locked by a verb")
    lock = ("lock", handle, "--reason", "recount", "--yes")
    run(sandbox, "bob", *lock, status=5)
    run(sandbox, "alice", *lock)
    run(sandbox, "alice", *lock, status=7)
    run(sandbox, "alice", "unlock", handle, "--reason", "done", "--yes")
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
    run(sandbox, "alice", *request)
    run(sandbox, "alice", *request, status=7)
    assert handle in [row["handle"] for row in answer(sandbox, "carol", "review", "inbox")]
    run(sandbox, "bob", *decide, status=5)
    run(sandbox, "carol", "review", "reject", handle, "--notes", "not yet", "--yes")
    run(sandbox, "alice", *request)
    run(sandbox, "carol", *decide)
    assert answer(sandbox, "alice", "info", handle)["release_status"] == "RELEASED"
    actions = [event["action"] for event in answer(sandbox, "alice", "review", "list", handle)]
    assert actions == ["REQUEST", "REJECT", "REQUEST", "APPROVE"]
    run(sandbox, "alice", "reviewers", "add", "10378.1/1451801", "--yes", status=5)


def test_a_link_downloads_the_file(sandbox: RunningSandbox, mount_as: MountAs) -> None:  # noqa: F811
    drive = mount_as("alice")
    path = next(path for path in drive.data(TABLES).rglob("*") if path.is_file())
    share = ("share", str(path), "--yes")
    done = run_cli(drive.environ, *share, "--expires", "5m", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["expires_in"] == 300
    with httpx.Client(trust_env=False) as client:
        assert client.get(told["url"]).content == path.read_bytes()
    for expires in ("0", "25h", "soon"):
        assert run_cli(drive.environ, *share, "--expires", expires).returncode == 2
    assert run_cli(drive.environ, "share", str(drive.data(TABLES)), "--yes").returncode == 2


def test_keys_work_for_other_tools(sandbox: RunningSandbox) -> None:
    keys = json.loads(run(sandbox, "alice", "credentials", OCEAN, "--format", "json").stdout)
    client = sandbox.s3_with(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    found = client.list_objects_v2(Bucket=sandbox.bucket, Prefix=sandbox.prefix(OCEAN))
    assert found["KeyCount"] > 0
    assert "export AWS_SESSION_TOKEN=" in run(sandbox, "alice", "credentials", OCEAN).stdout
    form = ("--format", "aws-config")
    assert "aws_session_token = " in run(sandbox, "alice", "credentials", OCEAN, *form).stdout
    run(sandbox, "bob", "credentials", OCEAN, "--write", status=5)
    run(sandbox, "alice", "credentials", RELEASED, "--write", status=5)


def test_a_manifest_lists_and_a_check_finds_faults(sandbox: RunningSandbox) -> None:
    rows = list(csv.DictReader(io.StringIO(run(sandbox, "alice", "manifest", TABLES).stdout)))
    files = {
        name: seen for name, seen in sandbox.manifest[TABLES].items() if not name.endswith("/")
    }
    assert {row["path"]: int(row["size"]) for row in rows} == {
        name: seen["size"] for name, seen in files.items()
    }
    assert answer(sandbox, "alice", "verify", TABLES, "--full") == {
        "checked": len(files),
        "faults": [],
    }
    run(sandbox, "bob", "verify", PRIVATE, status=5)
