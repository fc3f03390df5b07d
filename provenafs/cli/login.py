"""login, logout and whoami."""

from __future__ import annotations

import json
import os
import webbrowser
from typing import Annotated
from urllib.parse import urlsplit

import trio
import typer

from provenafs.cli.output import say
from provenafs.cli.target import ProfileOption
from provenafs.config import Settings, load_settings
from provenafs.provena.client import Provena
from provenafs.provena.login import log_in, log_out
from provenafs.provena.realm import DeviceLogin


def login(
    profile: ProfileOption = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Get an offline token that outlives the session, for servers."
        ),
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the URL instead of opening a browser.")
    ] = False,
) -> None:
    """Log in through a web browser, on this machine or on any other."""
    settings = load_settings(profile=profile)

    def tell(begun: DeviceLogin) -> None:
        say(f"Open {begun.verification_uri_complete}")
        say(f"and confirm the code {begun.user_code}. Waiting ...")
        if not no_browser:
            _open_browser(begun.verification_uri_complete)

    async def run() -> str | None:
        return (await log_in(settings, tell, offline=offline)).username

    say(f"Logged in as {trio.run(run)} (profile '{settings.profile}').")


def logout(profile: ProfileOption = None) -> None:
    """Delete the login and end its session."""
    settings = load_settings(profile=profile)
    if trio.run(log_out, settings):
        print(f"Logged out (profile '{settings.profile}').")
    else:
        print(f"Nobody was logged in (profile '{settings.profile}').")


def whoami(
    profile: ProfileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the logged-in user and the services."""
    settings = load_settings(profile=profile)
    username = trio.run(_username, settings)
    description = {
        "username": username,
        "profile": settings.profile,
        "datastore": settings.services.datastore,
        "realm": settings.services.realm,
    }
    if as_json:
        print(json.dumps(description, indent=2))
    else:
        say(f"{username} at {description['datastore']} (profile '{settings.profile}')")


async def _username(settings: Settings) -> str:
    async with Provena.connect(settings) as provena:
        return await provena.username()


def _open_browser(address: str) -> None:
    # Without a display a text browser would take over the terminal.
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_display and urlsplit(address).scheme in ("http", "https"):
        webbrowser.open(address)
