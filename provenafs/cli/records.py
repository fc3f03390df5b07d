"""info, search and health: what is known of datasets and of the services."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from provenafs.catalog.dataset import Dataset
from provenafs.cli.target import JsonOption, ProfileOption, Target, TargetArgument, ask
from provenafs.config import load_settings
from provenafs.provena.client import Provena
from provenafs.provena.errors import NotFound, ProvenaError, Unauthorised
from provenafs.provena.records import FetchedDataset
from provenafs.provena.search import MOST_HITS


def info(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show what a dataset is, who may do what with it, and why not."""
    found = Target.parse(target)
    fetched = ask(found.settings(profile), lambda provena: provena.datastore.fetch(found.handle))
    described = _described(fetched)
    if as_json:
        print(json.dumps(described, indent=2, ensure_ascii=False))
        return
    for name, value in described.items():
        if value not in (None, "", []):
            shown = ", ".join(value) if isinstance(value, list) else value
            print(f"{name.replace('_', ' ') + ':':<18} {shown}")


def _described(fetched: FetchedDataset) -> dict[str, Any]:
    record = fetched.record
    dataset = Dataset(record, fetched.roles, fetched.locked, 0.0)
    refusal = dataset.write_refusal()
    information = record.collection_format.get("dataset_info") or {}
    return {
        "handle": record.id,
        "name": record.display_name,
        "description": information.get("description"),
        "owner": record.owner_username,
        "created": _when(record.created_timestamp),
        "updated": _when(record.updated_timestamp),
        "version": str(record.version),
        "previous_version": record.previous_version,
        "next_version": record.next_version,
        "release_status": record.release_status,
        "locked": "yes" if fetched.locked else "no",
        "roles": sorted(fetched.roles),
        "files": f"s3://{record.s3.bucket_name}/{record.s3.path}",
        "hosted": "here" if record.reposited else "elsewhere",
        "read_only_because": None if refusal is None else refusal.message,
    }


@dataclass(frozen=True, slots=True)
class _Hit:
    handle: str
    score: float
    name: str | None


def search(
    query: Annotated[str, typer.Argument(help="Words to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=MOST_HITS, help="Most results.")] = 25,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find datasets by words, best first."""

    async def find(provena: Provena) -> list[_Hit]:
        hits = await provena.search.datasets(query, limit)
        return [_Hit(hit.id, hit.score, await _name(provena, hit.id)) for hit in hits]

    hits = ask(load_settings(profile=profile), find)
    if as_json:
        rows = [{"handle": hit.handle, "score": hit.score, "name": hit.name} for hit in hits]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not hits:
        print(f"Nothing was found for '{query}'.")
    for hit in hits:
        print(f"{hit.handle}  {hit.name or '(not for you to see)'}")


async def _name(provena: Provena, handle: str) -> str | None:
    """None for a dataset that is hidden from this user, or gone: search does not look at that."""
    try:
        return (await provena.datastore.fetch(handle)).record.display_name
    except (NotFound, Unauthorised):
        return None


def health(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Ask each service whether it is well; exit status 6 if one is not."""

    async def look(provena: Provena) -> dict[str, str]:
        answers = {}
        for service in provena.services:
            try:
                answers[service.name] = await service.health()
            except ProvenaError as error:
                answers[service.name] = f"failed: {error}"
        return answers

    answers = ask(load_settings(profile=profile), look)
    if as_json:
        print(json.dumps(answers, indent=2))
    else:
        for name, words in answers.items():
            print(f"{name}: {words}")
    if any(words.startswith("failed") for words in answers.values()):
        raise typer.Exit(6)


def _when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
