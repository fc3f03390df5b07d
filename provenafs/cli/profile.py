"""profile: add, list, show and remove profiles."""

from __future__ import annotations

from typing import Annotated

import typer

from provenafs.cli.app import plain_app
from provenafs.cli.output import say
from provenafs.config import (
    ConfigError,
    Settings,
    delete_profile,
    load_settings,
    profile_names,
    profile_path,
    save_profile,
)
from provenafs.provena.tokens import LoginFile

app = plain_app(help="Profiles: one for each Provena instance.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="The profile's name.")]
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
) -> None:
    """Add a profile, by the instance's domain and realm or by the address of each service."""
    path = profile_path(name)
    if path.exists():
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
    save_profile(name, {key: value for key, value in given.items() if value is not None})
    print(f"Added. Log in with 'provenafs login --profile {name}'.")


@app.command("list")
def list_() -> None:
    """List the profiles."""
    for name in profile_names():
        say(name)


@app.command()
def show(name: _Name) -> None:
    """Show a profile's settings and the address of each service."""
    settings = load_settings(profile=name, environ={})
    say(f"# {profile_path(name)}")
    for field in sorted(settings.model_fields_set - {"profile"}):
        say(f"{field} = {getattr(settings, field)}")
    services = settings.services
    print(f"# data store {services.datastore}, registry {services.registry}")
    print(f"# search {services.search}, realm {services.realm}")


@app.command()
def remove(
    name: _Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a profile and its login."""
    settings: Settings = load_settings(profile=name, environ={})
    if not yes:
        typer.confirm(f"Remove the profile '{name}' and its login?", abort=True)
    LoginFile(settings.state_dir, name).delete()
    delete_profile(name)
    print(f"Removed the profile '{name}'.")
