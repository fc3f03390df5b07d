"""manifest and verify: all files of a dataset, listed and checked."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import trio
import typer
from rich.filesize import decimal

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.contents import Checked, objects
from provenafs.catalog.contents import verify as check
from provenafs.cli.output import print_json, say
from provenafs.cli.progress import progress_of_files
from provenafs.cli.target import JsonOption, ProfileOption, Target, TargetArgument
from provenafs.config import Settings
from provenafs.content.listing.index import Index
from provenafs.printable import printable, printable_json
from provenafs.provena.client import Provena
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.types import ObjectInfo
from provenafs.s3.whole import md5_of

_COLUMNS = ("path", "size", "etag", "mtime", "checksum")


def manifest(
    target: TargetArgument,
    output: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a dataset's files as CSV: path, size in bytes, ETag, mtime, checksum where known."""
    found = Target.parse(target)
    rows = [_row(*one) for one in trio.run(_listed, found, found.settings(profile))]
    with nullcontext(sys.stdout) if output is None else output.open("w", newline="") as file:
        if as_json:
            file.write(printable_json(json.dumps(rows, indent=2, ensure_ascii=False)) + "\n")
            return
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"path": printable(row["path"])} if file.isatty() else row)


def _row(path: str, item: ObjectInfo) -> dict[str, Any]:
    md5 = md5_of(item.etag)
    return {
        "path": path,
        "size": item.size,
        "etag": item.etag.strip('"'),
        "mtime": datetime.fromtimestamp(item.modified_ns / 1e9, UTC).isoformat(timespec="seconds"),
        "checksum": None if md5 is None else f"md5:{md5}",
    }


def verify(
    target: TargetArgument,
    full: Annotated[
        bool, typer.Option("--full", help="Read every byte, and compare checksums.")
    ] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that every file of a dataset can be read and is as it is listed.

    Exit status 1 if one is not.
    """
    found = Target.parse(target)
    checked = trio.run(_verified, found, found.settings(profile), full)
    faults = [one for one in checked if one.fault is not None]
    if as_json:
        rows = [{"path": one.path, "size": one.size, "fault": one.fault} for one in faults]
        print_json({"checked": len(checked), "faults": rows})
    else:
        for one in faults:
            say(f"{one.path}: {one.fault}")
        size = decimal(sum(one.size for one in checked))
        print(f"{len(checked)} files of {size} checked, {len(faults)} with a fault.")
    if faults:
        raise typer.Exit(1)


async def _listed(found: Target, settings: Settings) -> list[tuple[str, ObjectInfo]]:
    async with _opened(found, settings) as (bucket, prefix):
        within = prefix if not found.path else f"{prefix}{found.path}"
        return [
            (item.key.removeprefix(prefix), item)
            async for item in objects(bucket, prefix)
            if item.key.startswith(within)
        ]


async def _verified(found: Target, settings: Settings, full: bool) -> list[Checked]:
    checked: list[Checked] = []
    with progress_of_files() as progress:
        async with _opened(found, settings) as (bucket, prefix):
            items = [item async for item in objects(bucket, prefix)]
            line = progress.add_task("verifying", total=len(items))

            def tell(one: Checked) -> None:
                checked.append(one)
                progress.advance(line)

            await check(bucket, prefix, items, whole=full, tell=tell)
    return sorted(checked, key=lambda one: one.path)


@asynccontextmanager
async def _opened(found: Target, settings: Settings) -> AsyncIterator[tuple[Bucket, str]]:
    """The bucket of a dataset and the prefix of its files."""
    async with Provena.connect(settings) as provena:
        catalog = Catalog(provena, Index(None).database, ttl=settings.ttl)
        dataset = await catalog.dataset(found.handle)
        refusal = dataset.read_refusal()
        if refusal is not None:
            raise refusal
        location = dataset.record.s3
        service = S3Context(settings.s3_endpoint_url, settings.io_timeout)
        bucket = Bucket(location.bucket_name, catalog.credentials(found.handle), service)
        yield bucket, location.path
