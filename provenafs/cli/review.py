"""review and reviewers: request, approve and reject releases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from provenafs.catalog.reviewing import Reviewing
from provenafs.cli.app import plain_app
from provenafs.cli.output import print_json, print_outcome, print_table, say, when
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

app = plain_app(help="Request, approve and reject releases.", no_args_is_help=True)
reviewers = plain_app(help="List, add and remove reviewers.", no_args_is_help=True)

_Notes = Annotated[str, typer.Option(help="A message to the other side, kept in the record.")]
_Person = Annotated[str, typer.Argument(help="The handle of a Person in the registry.")]


@app.command()
def request(
    target: TargetArgument,
    reviewer: Annotated[str, typer.Option(help="The reviewer's Person handle.")],
    notes: _Notes,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a reviewer to approve the release; the files cannot be changed meanwhile."""
    found = Target.parse(target)
    demand(notes, "note")
    confirm(f"Ask {reviewer} to review {found.handle}", yes=yes)
    words = ask(
        found.settings(profile),
        lambda provena: Reviewing(provena.datastore).request(found.handle, reviewer, notes),
    )
    sentence = words or f"The review of {found.handle} is requested."
    print_outcome(as_json, sentence, handle=found.handle, reviewer=reviewer, details=words)


@app.command()
def approve(
    target: TargetArgument,
    notes: _Notes,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release a dataset under your review: its files become read-only."""
    _decide(target, notes, profile, as_json, yes=yes, approved=True)


@app.command()
def reject(
    target: TargetArgument,
    notes: _Notes,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Return a dataset under your review to its owner."""
    _decide(target, notes, profile, as_json, yes=yes, approved=False)


def _decide(
    target: str, notes: str, profile: str | None, as_json: bool, *, yes: bool, approved: bool
) -> None:
    found = Target.parse(target)
    demand(notes, "note")
    confirm(f"{'Approve' if approved else 'Reject'} the release of {found.handle}", yes=yes)
    words = ask(
        found.settings(profile),
        lambda provena: Reviewing(provena.datastore).decide(found.handle, notes, approve=approved),
    )
    sentence = (
        words or f"The release of {found.handle} is {'approved' if approved else 'rejected'}."
    )
    print_outcome(as_json, sentence, handle=found.handle, approved=approved, details=words)


@app.command("list")
def history(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show the review history of a dataset, oldest first."""
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
        print_json(rows)
    elif events:
        print_table(
            ("when", "what", "reviewer", "words"),
            [
                (when(event.timestamp), event.action, event.approver, event.notes)
                for event in events
            ],
        )
    else:
        print(f"A review of {found.handle} was never requested.")


@app.command()
def inbox(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List the datasets that await your decision."""

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
        print_json(rows)
    elif records:
        print_table(
            ("handle", "since", "name"),
            [
                (record.id, when(record.release_timestamp or 0), record.display_name)
                for record in records
            ],
        )
    else:
        print("No dataset awaits your review.")


@reviewers.command("list")
def list_reviewers(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List the Person handles of the reviewers."""
    people = ask(load_settings(profile=profile), lambda provena: provena.datastore.reviewers())
    if as_json:
        print_json(people)
    else:
        for person in people or ["There is none."]:
            say(person)


@reviewers.command()
def add(
    person: _Person,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a Person to the reviewers."""
    confirm(f"Make {person} a reviewer", yes=yes)
    _change(profile, lambda provena: provena.datastore.add_reviewer(person))
    print_outcome(as_json, f"{person} is a reviewer.", person=person, reviewer=True)


@reviewers.command()
def remove(
    person: _Person,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a Person from the reviewers."""
    confirm(f"Remove {person} from the reviewers", yes=yes)
    _change(profile, lambda provena: provena.datastore.remove_reviewer(person))
    print_outcome(as_json, f"{person} is no longer a reviewer.", person=person, reviewer=False)


def _change(profile: str | None, change: Callable[[Provena], Awaitable[None]]) -> None:
    ask(load_settings(profile=profile), change)
