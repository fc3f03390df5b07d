"""sandbox: run a local Provena, with its users and its profile."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from provenafs.cli.app import plain_app
from provenafs.config import load_settings, save_profile
from provenafs.provena.tokens import LoginFile, Tokens
from provenafs.sandbox.errors import SandboxError
from provenafs.sandbox.process import launch, wait_until_ready
from provenafs.sandbox.state import Running, StateFolder

PROFILE = "sandbox"
_FIRST_USER = "alice"
_PACKAGES = ("fastapi", "hypercorn", "jwt", "minio")

app = plain_app(help="A local Provena with sample datasets.", no_args_is_help=True)

_State = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="PROVENAFS_SANDBOX_STATE",
        default_factory=lambda: Path(platformdirs.user_data_dir("provenafs")) / "sandbox",
        show_default="provenafs/sandbox among the user's data",
        help="Folder for all state.",
    ),
]
_User = Annotated[str, typer.Argument(help="alice, bob, carol, dave or admin.")]


@app.command()
def start(
    state: _State,
    background: Annotated[
        bool, typer.Option(help="Run in the background; return once it is ready.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Honour S3 conditions as AWS does, at some cost in speed."),
    ] = False,
) -> None:
    """Start the sandbox; the first start adds sample data, which takes a while."""
    _require_packages()
    folder = StateFolder(state)
    folder.prepare()
    if background:
        _show(_start_in_background(folder, strict), folder)
    else:
        _run(folder, strict)


@app.command()
def stop(state: _State) -> None:
    """Stop the sandbox; its state is kept."""
    folder = StateFolder(state)
    stopped = folder.stop()
    print("The sandbox has stopped." if stopped else f"No sandbox runs in {folder.path}.")


@app.command()
def status(
    state: _State,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the sandbox's addresses; exit status 1 unless all services respond."""
    folder = StateFolder(state)
    running = folder.running()
    silent = [] if running is None else running.silent()
    if as_json:
        fields = {} if running is None else asdict(running)
        known = {"running": running is not None, "state": str(folder.path), "silent": silent}
        print(json.dumps(known | fields, indent=2))
    elif running is None:
        print(f"No sandbox runs in {folder.path}.")
    else:
        _show(running, folder)
        for name in silent:
            print(f"The {name} service does not answer.")
    if running is None or silent:
        raise typer.Exit(1)


@app.command()
def login(user: _User, state: _State) -> None:
    """Log the profile `sandbox` in as another user."""
    _log_in(_running(StateFolder(state)), user)
    print(f"The profile '{PROFILE}' is logged in as {user}.")


@app.command()
def env(user: _User, state: _State) -> None:
    """Print shell exports for using the sandbox as a user from other programs."""
    from provenafs.sandbox.login import exports

    folder = StateFolder(state)
    for name, value in exports(folder, _running(folder), user).items():
        print(f"export {name}={shlex.quote(value)}")


def _run(folder: StateFolder, strict: bool) -> None:
    import trio

    from provenafs.sandbox import daemon

    def ready(running: Running) -> None:
        _log_in(running, _FIRST_USER)
        _show(running, folder)

    trio.run(partial(daemon.run, folder, ready, is_strict=strict))


def _start_in_background(folder: StateFolder, strict: bool) -> Running:
    if folder.holder() is not None:
        raise SandboxError(f"The sandbox in {folder.path} is already running.")
    return wait_until_ready(launch(folder, is_strict=strict), folder)


def _require_packages() -> None:
    if any(find_spec(package) is None for package in _PACKAGES):
        raise SandboxError(
            "The sandbox needs more packages: install provenafs again with its extra"
            " 'sandbox', in a checkout for example with pipx install --force '.[sandbox]'."
        )


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
        raise SandboxError(
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
