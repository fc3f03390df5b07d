"""review and reviewers: asking for a release, and deciding on one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from provenafs.cli.app import plain_app
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
from provenafs.config import ConfigError, load_settings
from provenafs.provena.client import Provena
from provenafs.provena.records import DatasetRecord

app = plain_app(help="Ask for a release, and decide on one.", no_args_is_help=True)
reviewers = plain_app(help="List, add and remove reviewers.", no_args_is_help=True)

_Notes = Annotated[str, typer.Option(help="Words for the other side, kept in the record.")]
_Person = Annotated[str, typer.Argument(help="The handle of a Person in the registry.")]


@app.command()
def request(
    target: TargetArgument,
    reviewer: Annotated[str, typer.Option(help="The reviewer's Person handle.")],
    notes: _Notes,
    yes: YesOption = False,
    profile: ProfileOption = None,
) -> None:
    """Ask a reviewer to approve the release; the files cannot be changed meanwhile."""
    found = Target.parse(target)
    demand(notes, "note")
    confirm(f"Ask {reviewer} to review {found.handle}", yes=yes)
    words = ask(
        found.settings(profile),
        lambda provena: provena.datastore.request_release(found.handle, reviewer, notes),
    )
    print(words or f"The review of {found.handle} is asked for.")


@app.command()
def approve(
    target: TargetArgument, notes: _Notes, yes: YesOption = False, profile: ProfileOption = None
) -> None:
    """Release a dataset that you were asked to review: its files cannot be changed any more."""
    _decide(target, notes, profile, yes=yes, approved=True)


@app.command()
def reject(
    target: TargetArgument, notes: _Notes, yes: YesOption = False, profile: ProfileOption = None
) -> None:
    """Send a dataset that you were asked to review back to its owner."""
    _decide(target, notes, profile, yes=yes, approved=False)


def _decide(target: str, notes: str, profile: str | None, *, yes: bool, approved: bool) -> None:
    found = Target.parse(target)
    demand(notes, "note")
    confirm(f"{'Approve' if approved else 'Reject'} the release of {found.handle}", yes=yes)
    words = ask(
        found.settings(profile),
        lambda provena: provena.datastore.decide_release(found.handle, notes, approve=approved),
    )
    print(words or f"The release of {found.handle} is {'approved' if approved else 'rejected'}.")


@app.command("list")
def history(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show what happened in the reviews of a dataset, oldest first."""
    found = Target.parse(target)
    fetched = ask(found.settings(profile), lambda provena: provena.datastore.fetch(found.handle))
    events = fetched.record.release_history
    if as_json:
        rows = [
            {
                "action": event.action,
                "timestamp": event.timestamp,
                "approver": event.approver,
                "requester": event.requester,
                "notes": event.notes,
            }
            for event in events
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not events:
        print(f"A review of {found.handle} was never asked for.")
    for event in events:
        print(f"{_when(event.timestamp)}  {event.action:<7}  {event.approver}  {event.notes}")


@app.command()
def inbox(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show the datasets that wait for your decision."""

    async def look(provena: Provena) -> list[DatasetRecord]:
        person = None if provena.auth_api is None else await provena.auth_api.person()
        if person is None:
            raise ConfigError("your account is not linked to a Person in the registry")
        records = [record async for record in provena.registry.reviews(person)]
        return [record for record in records if record.release_status == "PENDING"]

    records = ask(load_settings(profile=profile), look)
    if as_json:
        rows: list[dict[str, Any]] = [
            {"handle": record.id, "name": record.display_name, "since": record.release_timestamp}
            for record in records
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not records:
        print("Nothing waits for your review.")
    for record in records:
        print(f"{record.id}  {_when(record.release_timestamp or 0)}  {record.display_name}")


@reviewers.command("list")
def list_reviewers(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List the Person handles of the reviewers."""
    people = ask(load_settings(profile=profile), lambda provena: provena.datastore.reviewers())
    print(json.dumps(people, indent=2) if as_json else "\n".join(people) or "There is none.")


@reviewers.command()
def add(person: _Person, yes: YesOption = False, profile: ProfileOption = None) -> None:
    """Make a Person a reviewer."""
    confirm(f"Make {person} a reviewer", yes=yes)
    _change(profile, lambda provena: provena.datastore.add_reviewer(person))
    print(f"{person} is a reviewer.")


@reviewers.command()
def remove(person: _Person, yes: YesOption = False, profile: ProfileOption = None) -> None:
    """Make a Person no reviewer any more."""
    confirm(f"Remove {person} from the reviewers", yes=yes)
    _change(profile, lambda provena: provena.datastore.remove_reviewer(person))
    print(f"{person} is no reviewer.")


def _change(profile: str | None, change: Callable[[Provena], Awaitable[None]]) -> None:
    ask(load_settings(profile=profile), change)


def _when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp).strftime("%Y-%m-%d %H:%M:%S")
