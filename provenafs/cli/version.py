"""version: create a new version of a dataset, and copy the files into it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import trio
import typer
from rich.filesize import decimal

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.copying import Copied, open_copy
from provenafs.catalog.unfinished import unfinished
from provenafs.catalog.versioning import Version, Versioning
from provenafs.cli.output import print_json, say
from provenafs.cli.progress import progress_of_bytes
from provenafs.cli.target import (
    JsonOption,
    ProfileOption,
    Target,
    TargetArgument,
    YesOption,
    confirm,
    demand,
)
from provenafs.cli.transfers import wait_until_stored
from provenafs.config import ConfigError, Settings
from provenafs.content.listing.index import Index
from provenafs.provena.client import Provena
from provenafs.s3.calls import S3Context
from provenafs.tree.names import directory_name


def version(
    target: TargetArgument,
    reason: Annotated[str, typer.Option(help="Reason, kept in the new record.")] = "",
    copy_data: Annotated[
        bool, typer.Option("--copy-data", help="Copy all files into the new version.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume an interrupted copy into the existing next version."),
    ] = False,
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the next version of a dataset, without files unless --copy-data is given.

    A copy that was interrupted goes on with --resume. What the new version has is never
    overwritten: exit status 1 if files in it differ from those of the old one.
    """
    found = Target.parse(target)
    if resume and (reason or copy_data):
        raise ConfigError("--resume creates no version: leave out --reason and --copy-data")
    if not resume:
        demand(reason, "reason")
        confirm(f"Create a new version of {found.handle}", yes=yes)
    settings = found.settings(profile)
    if found.mountpoint is not None and (copy_data or resume):
        wait_until_stored(found.mountpoint)
    trio.run(_Work(found.handle, settings, as_json).run, reason, copy_data, resume)


class _Work:
    """The subcommand for one dataset."""

    def __init__(self, handle: str, settings: Settings, as_json: bool) -> None:
        self._handle = handle
        self._settings = settings
        self._as_json = as_json

    async def run(self, reason: str, copy_data: bool, resume: bool) -> None:
        async with Provena.connect(self._settings) as provena:
            catalog = Catalog(provena, Index(None).database, ttl=self._settings.ttl)
            versioning = Versioning(catalog, provena.datastore)
            if resume:
                new = await versioning.following(self._handle)
            else:
                new = await versioning.create(self._handle, reason)
                self._say(f"Version {new.number} of {self._handle} is {new.handle}.")
            copied: Copied | None = None
            try:
                if copy_data or resume:
                    copied = await self._copy(catalog, new)
            finally:
                self._tell_machines(new, copied)
        if copied is not None and copied.differing:
            raise typer.Exit(1)

    async def _copy(self, catalog: Catalog, new: Version) -> Copied:
        self._say(f"To resume after an interruption: provenafs version {self._handle} --resume")
        service = S3Context(self._settings.s3_endpoint_url, self._settings.io_timeout)
        begun = self._settings.state_dir / "copies" / self._settings.profile
        with (
            unfinished(begun / directory_name(new.handle)) as uploads,
            progress_of_bytes() as progress,
        ):
            copy = await open_copy(catalog, service, self._handle, new.handle, uploads)
            line = progress.add_task("copying", total=await copy.look())
            copied = await copy.run(lambda size: progress.advance(line, size))
        for path in copied.differing:
            self._say(f"{path}: differs from that of {self._handle}, and was left unchanged")
        self._say(
            f"{copied.files} files of {decimal(copied.size)} copied into {new.handle},"
            f" {copied.present} were there, {len(copied.differing)} differ."
        )
        return copied

    def _say(self, sentence: str) -> None:
        if not self._as_json:
            say(sentence)

    def _tell_machines(self, new: Version, copied: Copied | None) -> None:
        if self._as_json:
            print_json(
                {
                    "previous": self._handle,
                    "handle": new.handle,
                    "version": new.number,
                    "copied": None if copied is None else asdict(copied),
                }
            )
