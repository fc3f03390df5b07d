"""metadata: show, check, edit and revert a dataset's metadata."""

from __future__ import annotations

import difflib
import json
from typing import Annotated, Any

import click
import typer

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.documents import metadata_json, without_nulls
from provenafs.catalog.saving import Saved, Saving, fingerprint, parse
from provenafs.catalog.saving import validate as check
from provenafs.cli.app import plain_app
from provenafs.cli.input import read_document
from provenafs.cli.output import print_json, print_outcome, print_table, when
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
from provenafs.config import load_settings
from provenafs.content.listing.index import Index
from provenafs.provena.client import Provena
from provenafs.provena.errors import NotFound
from provenafs.provena.records import DatasetRecord, HistoryEntry

app = plain_app(help="Show, validate, edit and revert metadata.", no_args_is_help=True)

_Version = Annotated[int, typer.Argument(help="A number from 'metadata history'.")]
_WORDS = {
    Saved.UNCHANGED: "No changes: nothing was saved.",
    Saved.ALREADY_SO: "Already up to date: nothing was saved.",
    Saved.UPDATED: "The metadata is saved.",
    Saved.REVERTED: "Reverted to an earlier version.",
}


@app.command()
def show(
    target: TargetArgument,
    version: Annotated[
        int | None, typer.Option(help="An earlier version, by its number in the history.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Print the stored metadata document."""
    record = _record(target, profile)
    document = record.collection_format if version is None else _entry(record, version)
    print(metadata_json(document).decode())


@app.command()
def validate(
    file: Annotated[str, typer.Argument(help="A metadata document; - reads the standard input.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the data store validate a document; exit status 7 if it is invalid."""
    document = parse(read_document(file))
    ask(load_settings(profile=profile), lambda provena: check(provena.datastore, document))
    print_outcome(as_json, f"{file} is valid.", file=file, valid=True)


@app.command()
def edit(
    target: TargetArgument,
    reason: Annotated[str | None, typer.Option(help="Reason, kept in the history.")] = None,
    file: Annotated[
        str | None, typer.Option(help="Save this document instead of opening an editor.")
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the metadata in an editor ($EDITOR), or replace it from a file."""
    found = Target.parse(target)
    settings = found.settings(profile)
    record = _fetched(found, profile)
    if file is None:
        before = _editable(record.collection_format)
        edited = click.edit(before, extension=".json")
        text = (before if edited is None else edited).encode()
    else:
        text = read_document(file)
    why = demand(settings.reason if reason is None else reason, "reason")

    async def save(provena: Provena) -> Saved:
        catalog = Catalog(provena, Index(None).database, ttl=0.0)
        saving = Saving(catalog, provena.datastore)
        return await saving.save(found.handle, text, fingerprint(record.collection_format), why)

    saved = ask(settings, save)
    print_outcome(as_json, _WORDS[saved], handle=found.handle, saved=saved.name.lower())


@app.command()
def history(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show who changed the metadata, when and why, newest first."""
    entries = _record(target, profile).history
    if as_json:
        print_json([_row(entry) for entry in entries])
    else:
        print_table(
            ("number", "when", "who", "why"),
            [(entry.id, when(entry.timestamp), entry.username, entry.reason) for entry in entries],
        )


@app.command()
def diff(
    target: TargetArgument,
    old: _Version,
    new: Annotated[
        int | None, typer.Argument(help="The version to compare with; default: the current one.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Compare two versions of the metadata; exit status 1 if they differ."""
    record = _record(target, profile)
    after = record.collection_format if new is None else _entry(record, new)
    lines = list(
        difflib.unified_diff(
            _lines(_entry(record, old)), _lines(after), str(old), str(new or "now"), lineterm=""
        )
    )
    print("\n".join(lines) if lines else "They are equal.")
    if lines:
        raise typer.Exit(1)


@app.command()
def revert(
    target: TargetArgument,
    version: _Version,
    reason: Annotated[str, typer.Option(help="Reason, kept in the history.")],
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revert the metadata to an earlier version."""
    found = Target.parse(target)
    demand(reason, "reason")
    confirm(f"Revert the metadata of {found.handle} to version {version}", yes=yes)
    _entry(_fetched(found, profile), version)
    ask(
        found.settings(profile),
        lambda provena: provena.datastore.revert_metadata(found.handle, version, reason),
    )
    print_outcome(
        as_json,
        f"The metadata of {found.handle} is reverted to version {version}.",
        handle=found.handle,
        state=version,
    )


def _editable(document: dict[str, Any]) -> str:
    """A document for an editor: in letters, unless the record holds what no file can."""
    text = json.dumps(without_nulls(document), indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(without_nulls(document), indent=2)
    return text


def _record(target: str, profile: str | None) -> DatasetRecord:
    return _fetched(Target.parse(target), profile)


def _fetched(found: Target, profile: str | None) -> DatasetRecord:
    fetched = ask(found.settings(profile), lambda provena: provena.datastore.fetch(found.handle))
    return fetched.record


def _entry(record: DatasetRecord, number: int) -> dict[str, Any]:
    for entry in record.history:
        if entry.id == number:
            return entry.collection_format
    known = ", ".join(str(entry.id) for entry in record.history)
    raise NotFound(f"the history of {record.id} has no version {number} (there are: {known})")


def _row(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "timestamp": entry.timestamp,
        "username": entry.username,
        "reason": entry.reason,
    }


def _lines(document: dict[str, Any]) -> list[str]:
    return json.dumps(
        without_nulls(document), indent=2, ensure_ascii=False, sort_keys=True
    ).splitlines()
