"""`provenafs sandbox` from the outside: what it prints, leaves behind and takes up again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from provenafs.sandbox.gateway import BUCKET
from provenafs.sandbox.process import clean_environment
from provenafs.sandbox.state import StateFolder
from tests.support.running_sandbox import (
    RunningSandbox,
    run_cli,
    running_sandbox,
)

PENGUINS = "10378.1/1451870"


def test_status_tells_machines_where_everything_answers(sandbox: RunningSandbox) -> None:
    outcome = sandbox.cli("sandbox", "status", "--json")
    status = json.loads(outcome.stdout)
    assert outcome.returncode == 0, outcome.stderr
    assert status["running"] is True
    assert status["silent"] == []
    assert status["datastore"] == sandbox.running.datastore


def test_without_a_sandbox_every_verb_says_so(tmp_path: Path) -> None:
    environ = clean_environment(tmp_path)
    for arguments in (("status",), ("login", "bob"), ("env", "bob")):
        outcome = run_cli(environ, "sandbox", *arguments)
        assert outcome.returncode == 1
        assert "No sandbox runs in" in outcome.stdout + outcome.stderr
    assert run_cli(environ, "sandbox", "stop").returncode == 0
    assert json.loads(run_cli(environ, "sandbox", "status", "--json").stdout)["running"] is False


def test_env_makes_a_shell_that_user(sandbox: RunningSandbox) -> None:
    exports = sandbox.cli("sandbox", "env", "bob").stdout
    program = 'printf "%s\\n" "$PROVENAFS_DATASTORE_URL" "$PROVENAFS_TOKEN" "$AWS_ENDPOINT_URL"'
    shell = subprocess.run(
        ["sh", "-c", f"{exports}\n{program}"], capture_output=True, text=True, check=True
    )
    datastore, token, endpoint = shell.stdout.split()
    answer = httpx.get(
        f"{datastore}/check-access/check-read-access",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    assert answer.json()["username"] == "bob"
    assert endpoint == sandbox.s3_endpoint


def test_an_unknown_user_is_refused_by_name(sandbox: RunningSandbox) -> None:
    for verb in ("login", "env"):
        outcome = sandbox.cli("sandbox", verb, "zoe")
        assert outcome.returncode == 1
        assert "'zoe'" in outcome.stderr
        assert "alice" in outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_login_switches_the_profile(sandbox: RunningSandbox) -> None:
    assert "alice" in sandbox.cli("whoami", "--profile", "sandbox").stdout
    try:
        assert sandbox.cli("sandbox", "login", "bob").returncode == 0
        assert "bob" in sandbox.cli("whoami", "--profile", "sandbox").stdout
    finally:
        assert sandbox.cli("sandbox", "login", "alice").returncode == 0


def test_a_second_start_over_one_folder_is_refused(sandbox: RunningSandbox) -> None:
    for more in ((), ("--background",)):
        outcome = sandbox.cli("sandbox", "start", *more)
        assert outcome.returncode == 1
        assert "already running" in outcome.stderr


def test_the_folder_keeps_its_secrets_from_others(sandbox: RunningSandbox) -> None:
    folder = sandbox.state.path
    assert folder.stat().st_mode & 0o077 == 0
    keys = sandbox.state.keys()
    log = (sandbox.state.objects / "gateway.log").read_text()
    command_lines = [
        path.read_bytes().decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    for secret in (keys["root_password"], keys["service_secret"]):
        assert secret not in log
        assert not any(secret in line for line in command_lines)


def test_a_state_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = clean_environment(tmp_path)
    outcome = run_cli(environ, "sandbox", "start", "--state", str(tmp_path / "file" / "state"))
    assert outcome.returncode == 1
    assert "cannot be used" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A sandbox of this module's own, to be stopped, killed and started."""
    home = tmp_path_factory.mktemp("own")
    yield home
    StateFolder(home / "sandbox").stop()


def test_a_start_cut_off_while_seeding_is_made_good(home: Path) -> None:
    state = StateFolder(home / "sandbox")
    process = subprocess.Popen(
        [Path(sys.executable).parent / "provenafs", "sandbox", "start"],
        env=clean_environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(lambda: len(list(state.objects.glob("blocks/**/*"))) > 20)
        assert not state.manifest.exists()
    finally:
        process.kill()
        process.wait()
    # Nothing is left of it: the S3 server dies with its parent.
    _wait_for(lambda: not _processes_naming(state.path))
    with running_sandbox(home) as sandbox:
        assert len(sandbox.manifest) == 21
        assert sandbox.item(PENGUINS)["display_name"] == "Palmer penguins"


def test_what_was_done_is_there_after_stop_and_start(home: Path) -> None:
    with running_sandbox(home) as sandbox:
        first = sandbox.running
        handle = sandbox.mint("alice", "Made before the stop")
        key = f"{sandbox.prefix(handle)}kept.txt"
        sandbox.s3_as("alice", handle, "write").put_object(
            Bucket=sandbox.bucket, Key=key, Body=b"kept"
        )
        before = sandbox.s3().head_object(Bucket=sandbox.bucket, Key=key)
    with running_sandbox(home) as sandbox:
        after = sandbox.s3_as("bob", handle).get_object(Bucket=sandbox.bucket, Key=key)
        assert after["Body"].read() == b"kept"
        assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])
        assert sandbox.item(handle)["display_name"] == "Made before the stop"
        assert sandbox.running.datastore == first.datastore
        assert sandbox.s3_endpoint == first.s3_endpoint
        assert len(sandbox.manifest) == 21


@pytest.mark.parametrize(("flags", "refused"), [((), False), (("--strict",), True)])
def test_in_the_background_it_runs_until_stopped(
    home: Path, flags: tuple[str, ...], refused: bool
) -> None:
    environ, state = clean_environment(home), StateFolder(home / "sandbox")
    started = run_cli(environ, "sandbox", "start", "--background", *flags)
    assert started.returncode == 0, started.stderr
    assert run_cli(environ, "sandbox", "status").returncode == 0
    running = state.running()
    assert running is not None
    s3 = RunningSandbox(state, running, environ, {}).s3()
    for _ in range(2):  # the condition does not hold the second time
        try:
            s3.put_object(Bucket=BUCKET, Key=f"{refused}", Body=b"x", IfNoneMatch="*")
            was_refused = False
        except ClientError:
            was_refused = True
    assert was_refused is refused
    assert run_cli(environ, "sandbox", "stop").returncode == 0
    assert run_cli(environ, "sandbox", "status").returncode == 1
    assert not _processes_naming(home)


def test_a_port_that_somebody_else_took_is_given_up(home: Path) -> None:
    saved = json.loads((home / "sandbox" / "settings.json").read_text())
    with socket.socket() as other:
        other.bind(("127.0.0.1", saved["port"]))
        other.listen()
        with running_sandbox(home) as sandbox:
            assert f":{saved['port']}/" not in sandbox.running.datastore
            assert sandbox.running.silent() == []


def test_when_the_s3_server_dies_the_sandbox_ends_and_says_so(home: Path) -> None:
    with running_sandbox(home) as sandbox:
        (server,) = [
            pid for pid in _processes_naming(sandbox.state.objects) if "juicefs" in _name(pid)
        ]
        os.kill(server, signal.SIGKILL)
        _wait_for(lambda: sandbox.state.holder() is None)
    # Said once the lock is free.
    _wait_for(lambda: "The S3 server has ended" in sandbox.state.log.read_text())


def _wait_for(condition: object, deadline_s: float = 60) -> None:
    assert callable(condition)
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _processes_naming(path: Path) -> list[int]:
    """The processes that are alive and have a path in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(path).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()
