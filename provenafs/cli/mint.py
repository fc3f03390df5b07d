"""mint: register a new dataset with the metadata in a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.documents import metadata_json
from provenafs.catalog.minting import Minting
from provenafs.catalog.saving import parse, validate
from provenafs.cli.input import read_document
from provenafs.cli.output import print_outcome
from provenafs.cli.target import JsonOption, ProfileOption, YesOption, ask, confirm
from provenafs.config import ConfigError, Settings, load_settings
from provenafs.content.listing.index import Index
from provenafs.provena.client import Provena

_T = TypeVar("_T")


def mint(
    file: Annotated[
        str | None, typer.Argument(help="A metadata document; - reads the standard input.")
    ] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Print a metadata template; mint nothing.")
    ] = False,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Validate the document; mint nothing.")
    ] = False,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a new dataset without files and print its handle."""
    if template == (file is not None) or (template and validate_only):
        raise ConfigError("mint takes either a metadata document or --template")
    settings = load_settings(profile=profile)
    if file is None:
        print(metadata_json(_ask(settings, lambda minting: minting.template())).decode())
        return
    text = read_document(file)
    document = parse(text)
    if validate_only:
        ask(settings, lambda provena: validate(provena.datastore, document))
        print_outcome(as_json, f"{file} is valid.", file=file, valid=True)
        return
    information = document.get("dataset_info")
    name = information.get("name") if isinstance(information, dict) else None
    confirm(f"Register a new dataset '{name or 'without a name'}' for good", yes=yes)
    handle = _ask(settings, lambda minting: minting.mint(text))
    print_outcome(as_json, handle, handle=handle)


def _ask(settings: Settings, question: Callable[[Minting], Awaitable[_T]]) -> _T:
    async def put(provena: Provena) -> _T:
        catalog = Catalog(provena, Index(None).database, ttl=settings.ttl)
        intents = settings.state_dir / "mints" / settings.profile
        return await question(Minting(catalog, provena, intents))

    return ask(settings, put)
