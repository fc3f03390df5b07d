"""info, search and health."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from provenafs.catalog.dataset import Dataset
from provenafs.catalog.description import Description
from provenafs.catalog.finding import display_names, find
from provenafs.catalog.finding import health as look
from provenafs.cli.failures import ExitStatus
from provenafs.cli.output import print_fields, print_json, print_table, say, when
from provenafs.cli.target import JsonOption, ProfileOption, Target, TargetArgument, ask, demand
from provenafs.config import load_settings
from provenafs.provena.client import Provena
from provenafs.provena.search import MOST_HITS


def info(
    target: TargetArgument, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Show a dataset's state, your access rights, and the reasons."""
    found = Target.parse(target)

    async def look(provena: Provena) -> dict[str, Any]:
        fetched = await provena.datastore.fetch(found.handle)
        may_change = await provena.may_change()
        dataset = Dataset(fetched.record, fetched.roles, fetched.locked, 0.0, may_change)
        described = Description(dataset.record)
        parties = {
            "organisation": described.organisation,
            "publisher": described.publisher,
            "custodian": described.custodian,
        }
        known = {party: handle for party, handle in parties.items() if handle is not None}
        names = await display_names(provena, known.values())
        return _described(dataset, described) | {
            party: {"handle": handle, "name": names.get(handle)} for party, handle in known.items()
        }

    answer = ask(found.settings(profile), look)
    if as_json:
        print_json(answer)
    else:
        print_fields({name: _readable(value) for name, value in answer.items()})


def _readable(value: Any) -> object:
    """A party of a dataset in words, and any other value as it is."""
    if not isinstance(value, dict):
        return value
    return f"{value['name']} ({value['handle']})" if value["name"] else value["handle"]


def _described(dataset: Dataset, described: Description) -> dict[str, Any]:
    record = dataset.record
    refusal = dataset.write_refusal()
    return {
        "handle": record.id,
        "name": record.display_name,
        "description": record.dataset_info.get("description"),
        "keywords": described.keywords,
        "license": described.spdx or described.license_url,
        "published": described.published,
        "period": described.period,
        "owner": record.owner_username,
        "created": when(record.created_timestamp),
        "updated": when(record.updated_timestamp),
        "version": str(record.version),
        "previous_version": record.previous_version,
        "next_version": record.next_version,
        "release_status": record.release_status,
        "locked": "yes" if dataset.locked else "no",
        "roles": sorted(dataset.roles),
        "files": f"s3://{record.s3.bucket_name}/{record.s3.path}",
        "hosted": "here" if record.reposited else "elsewhere",
        "read_only_because": None if refusal is None else refusal.message,
    }


def search(
    words: Annotated[list[str], typer.Argument(help="Search terms.")],
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_HITS, help="Maximum number of results.")
    ] = 25,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for datasets, best match first."""
    query = " ".join(words)
    demand(query, "query")
    hits = ask(load_settings(profile=profile), lambda provena: find(provena, query, limit))
    if as_json:
        print_json([asdict(hit) for hit in hits])
    elif hits:
        print_table(
            ("handle", "name"), [(hit.handle, hit.name or "(not visible to you)") for hit in hits]
        )
    else:
        say(f"Nothing was found for '{query}'.")


def health(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Check that each service responds; exit status 6 if one does not."""
    answers = ask(load_settings(profile=profile), look)
    if as_json:
        print_json([asdict(answer) for answer in answers])
    else:
        rows = [
            (answer.service, "well" if answer.well else "failed", answer.message)
            for answer in answers
        ]
        print_table(("service", "state", "message"), rows)
    if not all(answer.well for answer in answers):
        raise typer.Exit(ExitStatus.UNAVAILABLE)
