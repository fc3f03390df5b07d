"""share and credentials."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import boto3
import httpx
import pytest

from provenafs.catalog.sharing import Keys
from provenafs.cli.sharing import Format, _printed
from provenafs.provena.errors import Unavailable
from provenafs.provena.records import S3Location
from tests.support.mounting import MountAs
from tests.support.running_sandbox import RunningSandbox, run_cli
from tests.support.verbs import (
    COMMON_POOL,
    EMBARGOED,
    LOCKED,
    OCEAN,
    PENDING,
    PENGUINS,
    PRIVATE,
    RELEASED,
    TABLES,
    Verbs,
)


def test_a_link_downloads_a_file_of_a_mount(
    mount_as: MountAs,
) -> None:
    drive = mount_as("alice")
    path = next(path for path in drive.data(TABLES).rglob("*") if path.is_file())
    done = run_cli(drive.environ, "share", str(path), "--yes", "--expires", "5m", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["handle"], told["expires_in"]) == (TABLES, 300)
    with httpx.Client(trust_env=False) as client:
        assert client.get(told["url"]).content == path.read_bytes()
    done = run_cli(drive.environ, "share", str(drive.data(TABLES)), "--yes")
    assert done.returncode == 2
    assert "is not a file" in done.stderr


def test_a_link_needs_no_mount(verbs: Verbs) -> None:
    (path, seen) = next(iter(verbs.sandbox.manifest[PENGUINS].items()))
    url = verbs.run("bob", "share", PENGUINS, path, "--yes").stdout.strip()
    with httpx.Client(trust_env=False) as client:
        assert len(client.get(url).content) == seen["size"]


@pytest.mark.parametrize("expires", ["0", "0s", "25h", "86401", "2d", "soon", "-5m", "", "1.5h"])
def test_a_time_that_no_link_is_good_for(verbs: Verbs, expires: str) -> None:
    share = ("share", PENGUINS, "penguins.csv", "--yes", f"--expires={expires}")
    assert "between 1s and 24h" in verbs.run("alice", *share, status=2).stderr


def test_a_long_link_is_said_to_be_shorter(verbs: Verbs) -> None:
    path = next(iter(verbs.sandbox.manifest[PENGUINS]))
    told = verbs.run("alice", "share", PENGUINS, path, "--yes", "--expires", "24h")
    assert "8 hours" in told.stderr
    assert told.stdout.startswith("http")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("../10378-1-1451990/data.csv", 7, "contains '../' which is not allowed"),
        ("report..final.csv", 7, "contains '..' which is not allowed"),
        ("a//b", 7, "contains '//' which is not allowed"),
        ("a\\b", 7, "which is not allowed"),
        ("none.csv", 4, "has no file 'none.csv'"),
        ("", 2, "is not a file"),
    ],
)
def test_paths_without_a_link(verbs: Verbs, path: str, status: int, words: str) -> None:
    done = verbs.run("alice", "share", PENGUINS, path, "--yes", status=status)
    assert words in done.stderr


def test_a_link_is_asked_about_first(verbs: Verbs) -> None:
    path = next(iter(verbs.sandbox.manifest[PENGUINS]))
    done = verbs.run("alice", "share", PENGUINS, path, status=2)
    assert "pass --yes" in done.stderr
    assert done.stdout == ""


def test_links_are_for_those_who_may_read_the_files(verbs: Verbs) -> None:
    share = ("share", EMBARGOED, next(iter(verbs.sandbox.manifest[EMBARGOED])), "--yes")
    assert verbs.statuses(*share) == {"alice": 5, "bob": 5, "carol": 5, "dave": 5, "admin": 0}
    share = ("share", PRIVATE, next(iter(verbs.sandbox.manifest[PRIVATE])), "--yes")
    assert verbs.statuses(*share) == {"alice": 0, "bob": 5, "carol": 5, "dave": 5, "admin": 0}


def test_keys_are_for_those_with_the_role(verbs: Verbs) -> None:
    refused = {
        (OCEAN, False): {"dave"},
        (OCEAN, True): {"bob", "carol", "dave"},
        (EMBARGOED, False): {"alice", "bob", "carol", "dave"},
        # Everybody may write there, but bob lacks the realm's role for writing.
        (COMMON_POOL, True): {"bob", "dave"},
        (PENDING, False): {"dave"},
        (PENDING, True): {*("alice", "bob", "carol", "dave", "admin")},
        (RELEASED, True): {*("alice", "bob", "carol", "dave", "admin")},
        (LOCKED, True): {*("alice", "bob", "carol", "dave", "admin")},
    }
    for (handle, write), users in refused.items():
        statuses = verbs.statuses("credentials", handle, *(["--write"] if write else []))
        assert {user for user, status in statuses.items() if status == 5} == users, handle
        assert {status for user, status in statuses.items() if user not in users} <= {0}
    told = verbs.run("alice", "credentials", LOCKED, "--write", status=5).stderr
    assert "locked" in told
    told = verbs.run("alice", "credentials", RELEASED, "--write", status=5).stderr
    assert "released" in told
    verbs.run("alice", "credentials", "10378.1/1", status=4)


def test_keys_work_in_the_environment(sandbox: RunningSandbox, verbs: Verbs) -> None:
    text = verbs.run("alice", "credentials", OCEAN).stdout
    listed = (
        "import os, boto3; client = boto3.client('s3', region_name='ap-southeast-2');"
        f"print(client.list_objects_v2(Bucket='{sandbox.bucket}',"
        f" Prefix='{sandbox.prefix(OCEAN)}')['KeyCount'])"
    )
    done = subprocess.run(
        ["bash", "-c", f'{text}\nexec python -c "$0"', listed],
        env=_without_aws(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 0


def test_keys_work_in_a_configuration_file(
    sandbox: RunningSandbox, verbs: Verbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = verbs.run("alice", "credentials", OCEAN, "--format", "aws-config").stdout
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    client = boto3.Session(profile_name="provena", region_name="ap-southeast-2").client("s3")
    found = client.list_objects_v2(Bucket=sandbox.bucket, Prefix=sandbox.prefix(OCEAN))
    assert found["KeyCount"] > 0


def test_keys_work_as_json(sandbox: RunningSandbox, verbs: Verbs) -> None:
    keys = verbs.ask("alice", "credentials", OCEAN)
    client = sandbox.s3_with(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    found = client.list_objects_v2(Bucket=sandbox.bucket, Prefix=sandbox.prefix(OCEAN))
    assert found["KeyCount"] > 0
    assert keys["Location"] == f"s3://{sandbox.bucket}/{sandbox.prefix(OCEAN)}"


def _without_aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _keys(path: str = "datasets/x/", secret: str = "secret", console: str | None = None) -> Keys:
    location = S3Location(bucket_name="bucket", path=path)
    expiry = datetime(2030, 1, 1, tzinfo=UTC)
    return Keys(location, expiry, "id", secret, "token", console)


HOSTILE = "d/'\"; touch owned; `touch owned` $(touch owned) & # \\"


@pytest.mark.parametrize("evaluate", ['eval "$text"', "eval $text"])
@pytest.mark.parametrize("comments", [True, False])
def test_a_shell_runs_nothing_of_what_keys_say(
    tmp_path: Path, comments: bool, evaluate: str
) -> None:
    """Also where a # begins no comment, as in zsh at the prompt."""
    text = _printed(_keys(HOSTILE, HOSTILE), HOSTILE, Format.env)
    if not comments:
        text = text.replace("\n# ", "\n: ")
    environ = os.environ | {"text": text}
    subprocess.run(
        ["bash", "-c", evaluate], cwd=tmp_path, env=environ, capture_output=True, check=False
    )
    assert list(tmp_path.iterdir()) == []
    values = subprocess.run(
        ["bash", "-c", 'eval "$text"; printf %s "$AWS_SECRET_ACCESS_KEY"'],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert values.stdout == HOSTILE


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("text", ["a\ntouch owned", "a\rb", "\x1b[2J", "\u202e", "\x9b"])
def test_control_characters_in_keys_are_refused_in_every_format(form: Format, text: str) -> None:
    for keys in (_keys(path=text), _keys(secret=text)):
        with pytest.raises(Unavailable, match="control characters"):
            _printed(keys, None, form)
