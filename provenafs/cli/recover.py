"""recover: show and resolve files that could not be stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import trio
import typer
from rich.filesize import decimal

from provenafs.assembly import Listeners, open_context
from provenafs.cli.app import plain_app
from provenafs.cli.output import local_time, say
from provenafs.cli.target import ProfileOption
from provenafs.config import load_settings
from provenafs.content.journal_schema import State
from provenafs.content.recovery import Item, Recovery
from provenafs.provena.client import Provena

app = plain_app(help="Show and resolve files that could not be stored.", no_args_is_help=True)

_StateDir = Annotated[Path | None, typer.Option(help="Directory for state that must survive.")]
_Id = Annotated[str, typer.Argument(help="An id from 'recover list', or its first characters.")]

_WORDS = {
    State.OPEN: "incomplete: never closed",
    State.CLOSED: "acknowledged, to be sent by the next mount",
    State.FAILED: "its close failed with an error",
}


@app.command("list")
def list_items(
    profile: ProfileOption = None,
    state_dir: _StateDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List files that are not stored and unfinished renames."""

    async def show(recovery: Recovery) -> None:
        items = await recovery.items()
        if as_json:
            print(json.dumps([_document(item) for item in items], indent=2))
        elif not items:
            print("There is nothing to recover.")
        else:
            for item in items:
                say(_line(item))

    _run(show, profile, state_dir)


@app.command()
def send(
    item: _Id,
    key: Annotated[str | None, typer.Option("--as", help="Store it under another key.")] = None,
    profile: ProfileOption = None,
    state_dir: _StateDir = None,
) -> None:
    """Upload a file again, or complete a rename."""
    _run(lambda recovery: recovery.send(item, key), profile, state_dir)


@app.command()
def export(
    item: _Id,
    to: Annotated[Path, typer.Option("--as", help="The local file to write.")],
    profile: ProfileOption = None,
    state_dir: _StateDir = None,
) -> None:
    """Write a file to the local disk."""
    _run(lambda recovery: recovery.export(item, to), profile, state_dir)


@app.command()
def discard(
    item: _Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    profile: ProfileOption = None,
    state_dir: _StateDir = None,
) -> None:
    """Delete a file's bytes for good, or drop a rename and leave all names as they are."""
    if not yes and not typer.confirm(f"Discard {item} for good?"):
        raise typer.Exit(1)
    _run(lambda recovery: recovery.discard(item), profile, state_dir)


def _run(
    work: Callable[[Recovery], Awaitable[None]], profile: str | None, state_dir: Path | None
) -> None:
    settings = load_settings(profile=profile, state_dir=state_dir)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Recovery]:
        listeners = Listeners(lambda changes: None, _raise, dict)
        async with (
            Provena.connect(settings) as provena,
            open_context(settings, provena, listeners) as context,
        ):
            yield Recovery(context.store, context.volume_of)

    async def main() -> None:
        async with opened() as recovery:
            await work(recovery)

    trio.run(main)


def _raise(ino: int, error: Exception) -> None:
    raise error


def _document(item: Item) -> dict[str, Any]:
    return {**asdict(item), "state": item.state.value}


def _words(item: Item) -> str:
    if not item.target:
        return _WORDS[item.state]
    later = ", to be finished by the next mount" if item.state is State.CLOSED else ""
    return f"unfinished rename to {item.target}{later}"


def _line(item: Item) -> str:
    when = local_time(item.changed_at)
    state = "in use by a mount" if item.in_use else _words(item)
    reason = f" ({item.reason})" if item.reason else ""
    return f"{item.id[:8]}  {when}  {decimal(item.size)}  {item.key}  {state}{reason}"
