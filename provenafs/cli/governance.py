"""lock, unlock, lock-history and access."""

from __future__ import annotations

from typing import Annotated

import typer
from ProvenaInterfaces.RegistryModels import AccessSettings, LockEvent

from provenafs.cli.app import plain_app
from provenafs.cli.output import print_fields, print_json, print_outcome, print_table, when
from provenafs.cli.target import (
    JsonOption,
    ProfileOption,
    Target,
    TargetArgument,
    YesOption,
    ask,
    confirm,
    demand,
)
from provenafs.config import ConfigError
from provenafs.provena.client import Provena

app = plain_app(help="Show and set access rights.", no_args_is_help=True)

_Reason = Annotated[str, typer.Option(help="Reason, kept in the lock's history.")]


def lock(
    target: TargetArgument,
    reason: _Reason,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop changes to a dataset's files and metadata."""
    found = Target.parse(target)
    demand(reason, "reason")
    confirm(f"Lock {found.handle}", yes=yes)
    ask(found.settings(profile), lambda provena: provena.registry.lock(found.handle, reason))
    print_outcome(as_json, f"{found.handle} is locked.", handle=found.handle, locked=True)


def unlock(
    target: TargetArgument,
    reason: _Reason,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow changes to a dataset again."""
    found = Target.parse(target)
    demand(reason, "reason")
    confirm(f"Unlock {found.handle}", yes=yes)
    ask(found.settings(profile), lambda provena: provena.registry.unlock(found.handle, reason))
    print_outcome(as_json, f"{found.handle} is unlocked.", handle=found.handle, locked=False)


def lock_history(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show who locked and unlocked a dataset, when and why."""
    found = Target.parse(target)
    events: list[LockEvent] = ask(
        found.settings(profile), lambda provena: provena.registry.lock_history(found.handle)
    )
    if as_json:
        print_json([event.model_dump(mode="json") for event in events])
    elif events:
        print_table(
            ("when", "what", "who", "why"),
            [
                (when(event.timestamp), event.action_type.value, event.username, event.reason)
                for event in events
            ],
        )
    else:
        print(f"{found.handle} was never locked.")


@app.command()
def show(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show the owner, and the roles of everybody and of groups."""
    found = Target.parse(target)
    settings = ask(found.settings(profile), lambda provena: provena.registry.access(found.handle))
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    groups = {f"group {group}": _words(roles) for group, roles in settings.groups.items()}
    print_fields({"owner": settings.owner, "everybody": _words(settings.general), **groups})


@app.command("set")
def set_(
    target: TargetArgument,
    everybody: Annotated[
        str | None, typer.Option(help="Roles of everybody, separated by commas; '' for none.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="GROUP=ROLE,ROLE sets a group's roles, GROUP= removes them; may be repeated."
        ),
    ] = None,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the roles of everybody or of groups; others stay unchanged."""
    found = Target.parse(target)
    changes = dict(_group(text) for text in group or [])
    if everybody is None and not changes:
        raise ConfigError("nothing to change: pass --everybody or --group")
    confirm(f"Change the access rights of {found.handle}", yes=yes)

    async def change(provena: Provena) -> AccessSettings:
        before = await provena.registry.access(found.handle)
        groups = {name: roles for name, roles in (before.groups | changes).items() if roles}
        general = before.general if everybody is None else _roles(everybody)
        after = AccessSettings(owner=before.owner, general=general, groups=groups)
        await provena.registry.set_access(found.handle, after)
        return after

    after = ask(found.settings(profile), change)
    print_outcome(
        as_json,
        f"The access rights of {found.handle} are changed.",
        handle=found.handle,
        **after.model_dump(mode="json"),
    )


def _group(text: str) -> tuple[str, list[str]]:
    name, equals, roles = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"'{text}' is not of the form GROUP=ROLE,ROLE")
    return name, _roles(roles)


def _words(roles: list[str]) -> str:
    return ", ".join(roles) or "nothing"


def _roles(text: str) -> list[str]:
    return [role.strip() for role in text.split(",") if role.strip()]
