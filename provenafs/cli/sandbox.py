"""sandbox: a local Provena for trying out, its users and its profile."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import platformdirs
import typer

from provenafs.config import load_settings, save_profile
from provenafs.provena.tokens import LoginFile, Tokens

if TYPE_CHECKING:
    from provenafs.sandbox.state import Running, StateFolder

PROFILE = "sandbox"
_FIRST_USER = "alice"
_START_DEADLINE_S = 300
_POLL_S = 0.05

app = typer.Typer(help="A local Provena with sample datasets.", no_args_is_help=True)

_State = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="PROVENAFS_SANDBOX_STATE",
        default_factory=lambda: Path(platformdirs.user_data_dir("provenafs")) / "sandbox",
        show_default="provenafs/sandbox among the user's data",
        help="The folder that keeps everything.",
    ),
]
_User = Annotated[str, typer.Argument(help="alice, bob, carol, dave or admin.")]


@app.command()
def start(
    state: _State,
    background: Annotated[bool, typer.Option(help="Return once it is running.")] = False,
) -> None:
    """Start the sandbox; the first time it is filled with samples, which takes a while."""
    with _told() as folder_at:
        folder = folder_at(state)
        folder.prepare()
        if background:
            _show(_started_behind(folder), folder)
        else:
            _run(folder)


@app.command()
def stop(state: _State) -> None:
    """Stop the sandbox; its state is kept."""
    with _told() as folder_at:
        folder = folder_at(state)
        stopped = folder.stop()
        print("The sandbox has stopped." if stopped else f"No sandbox runs in {folder.path}.")


@app.command()
def status(
    state: _State,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show where the sandbox answers; the exit code is 1 unless all of it does."""
    with _told() as folder_at:
        folder = folder_at(state)
        running = folder.running()
        silent = [] if running is None else running.silent()
        if as_json:
            print(json.dumps(_description(running, silent, folder), indent=2))
        elif running is None:
            print(f"No sandbox runs in {folder.path}.")
        else:
            _show(running, folder)
        if silent and not as_json:
            print(f"Silent: {', '.join(silent)}.")
        if running is None or silent:
            raise typer.Exit(1)


@app.command()
def login(user: _User, state: _State) -> None:
    """Log the profile `sandbox` in as another user."""
    with _told() as folder_at:
        _log_in(_running(folder_at(state)), user)
        print(f"The profile '{PROFILE}' is logged in as {user}.")


@app.command()
def env(user: _User, state: _State) -> None:
    """Print shell exports that let other programs use the sandbox as a user."""
    with _told() as folder_at:
        from provenafs.sandbox.login import long_lived_token

        folder = folder_at(state)
        running = _running(folder)
        for name, value in {
            "PROVENAFS_DATASTORE_URL": running.datastore,
            "PROVENAFS_REGISTRY_URL": running.registry,
            "PROVENAFS_SEARCH_URL": running.search,
            "PROVENAFS_AUTH_URL": running.realm,
            "PROVENAFS_AUTH_API_URL": running.auth_api,
            "PROVENAFS_JOB_API_URL": running.job_api,
            "PROVENAFS_TOKEN": long_lived_token(folder, user),
            "PROVENAFS_S3_ENDPOINT": running.s3_endpoint,
            "AWS_ENDPOINT_URL": running.s3_endpoint,
        }.items():
            print(f"export {name}={shlex.quote(value)}")


def _run(folder: StateFolder) -> None:
    import trio

    from provenafs.sandbox import daemon

    def ready(running: Running) -> None:
        _log_in(running, _FIRST_USER)
        _show(running, folder)

    trio.run(daemon.run, folder, ready)


def _started_behind(folder: StateFolder) -> Running:
    """Start a process of its own and wait until what it runs answers."""
    if folder.holder() is not None:
        raise _failure(f"The sandbox in {folder.path} is already running.")
    command = "from provenafs.cli.sandbox import app; app()"
    with folder.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", command, "start", "--state", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        running = folder.running()
        if running is not None and not running.silent():
            return running
        time.sleep(_POLL_S)
    if process.poll() is None:
        process.terminate()
        raise _failure(
            f"The sandbox did not start within {_START_DEADLINE_S} seconds; see {folder.log}."
        )
    last_words = folder.log.read_text(errors="replace").strip().splitlines()[-1:]
    raise _failure(last_words[0] if last_words else f"The sandbox ended; see {folder.log}.")


def _log_in(running: Running, user: str) -> None:
    """Write the profile and its login, as `provenafs login` would."""
    from provenafs.sandbox.login import CLIENT_ID, SCOPES, log_in

    answer = log_in(running, user)
    save_profile(
        PROFILE,
        {
            "datastore_url": running.datastore,
            "registry_url": running.registry,
            "search_url": running.search,
            "auth_url": running.realm,
            "auth_api_url": running.auth_api,
            "job_api_url": running.job_api,
            "s3_endpoint_url": running.s3_endpoint,
            "client_id": CLIENT_ID,
            "scopes": SCOPES,
        },
    )
    tokens = Tokens(
        realm=running.realm,
        client_id=CLIENT_ID,
        access_token=answer["access_token"],
        expires_at=time.time() + answer["expires_in"],
        refresh_token=answer["refresh_token"],
    )
    state_dir = load_settings(environ=os.environ, profile=PROFILE).state_dir
    LoginFile(state_dir, PROFILE).write(tokens)


def _running(folder: StateFolder) -> Running:
    running = folder.running()
    if running is None:
        raise _failure(
            f"No sandbox runs in {folder.path}; start one with 'provenafs sandbox start'."
        )
    return running


def _show(running: Running, folder: StateFolder) -> None:
    print(f"The sandbox runs (process {running.pid}), its state is in {folder.path}.")
    print(f"Data store: {running.datastore}")
    print(f"Registry:   {running.registry}")
    print(f"Search:     {running.search}")
    print(f"Realm:      {running.realm}")
    print(f"S3:         {running.s3_endpoint}", flush=True)


def _description(
    running: Running | None, silent: list[str], folder: StateFolder
) -> dict[str, object]:
    if running is None:
        return {"running": False, "state": str(folder.path)}
    return {
        "running": True,
        "state": str(folder.path),
        "pid": running.pid,
        "datastore_url": running.datastore,
        "registry_url": running.registry,
        "search_url": running.search,
        "auth_url": running.realm,
        "auth_api_url": running.auth_api,
        "job_api_url": running.job_api,
        "s3_endpoint": running.s3_endpoint,
        "silent": silent,
    }


@contextmanager
def _told() -> Iterator[type[StateFolder]]:
    """Give the class of state folders, and turn what the sandbox raises into one sentence."""
    try:
        from provenafs.sandbox.errors import SandboxError
        from provenafs.sandbox.state import StateFolder
        from provenafs.sandbox.storage import StorageError
    except ImportError as error:
        raise _failure(
            f"The sandbox needs the package {error.name}: pip install 'provenafs[sandbox]'."
        ) from error
    try:
        yield StateFolder
    except* (SandboxError, StorageError) as group:
        error_in: BaseException = group
        while isinstance(error_in, BaseExceptionGroup):
            error_in = error_in.exceptions[0]
        message = str(error_in)
    else:
        return
    raise _failure(message)


def _failure(message: str) -> typer.Exit:
    print(message, file=sys.stderr)
    return typer.Exit(1)
