"""profile: add, list, show and remove profiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from provenafs.catalog.finding import health
from provenafs.cli.app import plain_app
from provenafs.cli.completing import profiles
from provenafs.cli.output import print_json, print_table, say
from provenafs.cli.target import JsonOption, ask
from provenafs.config import (
    SYSTEM_DIRECTORY,
    ConfigError,
    Settings,
    delete_profile,
    existing_profile,
    find_profile,
    load_settings,
    profile_names,
    save_profile,
    validated,
)
from provenafs.provena.tokens import LoginFile

app = plain_app(help="Profiles: one for each Provena instance.", no_args_is_help=True)

_CHECK_TIMEOUT_S = 10.0
_NEEDED = 4  # the services that stand first in `health`: none of them can be missing
_SECRET_LINE = re.compile(r"""^(\s*["']?token["']?\s*=).*""", re.MULTILINE)

_Name = Annotated[str, typer.Argument(help="The profile's name.")]
_Existing = Annotated[str, typer.Argument(help="The profile's name.", autocompletion=profiles)]
_Address = Annotated[str | None, typer.Option(show_default=False, metavar="URL")]


@app.command()
def add(
    name: _Name,
    domain: Annotated[
        str | None, typer.Option(help="The instance's domain.", show_default=False)
    ] = None,
    realm: Annotated[
        str | None, typer.Option(help="The name of its Keycloak realm.", show_default=False)
    ] = None,
    datastore_url: _Address = None,
    registry_url: _Address = None,
    search_url: _Address = None,
    auth_url: _Address = None,
    auth_api_url: _Address = None,
    job_api_url: _Address = None,
    s3_endpoint: _Address = None,
    client_id: Annotated[
        str | None, typer.Option(help="The client to log in as.", show_default=False)
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Ask each service whether it is there.")
    ] = True,
) -> None:
    """Add a profile, by the instance's domain and realm or by the address of each service."""
    path = find_profile(name)
    if path is not None:
        raise ConfigError(f"there is a profile '{name}' already, in {path}")
    four = (datastore_url, registry_url, search_url, auth_url)
    if not (domain and (realm or auth_url)) and not all(four):
        raise ConfigError(
            "specify the instance: --domain and --realm, or --datastore-url, --registry-url,"
            " --search-url and --auth-url"
        )
    given = {
        "domain": domain,
        "realm": realm,
        "datastore_url": datastore_url,
        "registry_url": registry_url,
        "search_url": search_url,
        "auth_url": auth_url,
        "auth_api_url": auth_api_url,
        "job_api_url": job_api_url,
        "s3_endpoint_url": s3_endpoint,
        "client_id": client_id,
        "read_only": read_only or None,
    }
    values = {key: value for key, value in given.items() if value is not None}
    if check:
        _check(validated({**values, "profile": name, "api_timeout": _CHECK_TIMEOUT_S}))
    save_profile(name, values)
    print(f"Added. Log in with 'provenafs login --profile {name}'.")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the profiles."""
    found = [(name, find_profile(name)) for name in profile_names()]
    if as_json:
        print_json([{"name": name, "file": str(path)} for name, path in found])
    else:
        print_table(("profile", "file"), [(name, str(path)) for name, path in found])


@app.command()
def show(name: _Existing) -> None:
    """Show a profile's settings and the address of each service."""
    path = existing_profile(name)
    say(f"# {path}")
    try:
        settings = load_settings(profile=name, environ={})
    except ConfigError:
        _show_text(path)
        raise
    for field in sorted(settings.model_fields_set - {"profile"}):
        say(f"{field} = {getattr(settings, field)}")
    services = settings.services
    print(f"# data store {services.datastore}, registry {services.registry}")
    print(f"# search {services.search}, realm {services.realm}")


@app.command()
def remove(
    name: _Existing,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a profile and its login."""
    path = existing_profile(name)
    if path.is_relative_to(SYSTEM_DIRECTORY):
        raise ConfigError(f"the profile '{name}' is everybody's: root removes it with rm {path}")
    try:
        state_dir = load_settings(profile=name, environ={}).state_dir
    except ConfigError:
        state_dir = validated({}).state_dir  # of what cannot be read
    if not yes:
        typer.confirm(f"Remove the profile '{name}' and its login?", abort=True)
    LoginFile(state_dir, name).delete()
    delete_profile(name)
    print(f"Removed the profile '{name}'.")


def _show_text(path: Path) -> None:
    """The lines of a profile that is not understood, without a token."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return
    for line in _SECRET_LINE.sub(r"\1 **********", text).splitlines():
        say(line)


def _check(settings: Settings) -> None:
    """Say which services answer. ConfigError if one does not that every instance has."""
    answers = ask(settings, health)
    for answer in answers:
        say(f"{answer.service}: {'found' if answer.well else answer.message}")
    if not all(answer.well for answer in answers[:_NEEDED]):
        raise ConfigError(
            "not every service was found, and nothing is added: check the addresses,"
            " or say --no-check"
        )
