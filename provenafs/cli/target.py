"""What a verb is about: a handle, a dataset's directory, or any path inside a mount."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import trio
import typer

from provenafs.config import ConfigError, Settings, load_settings, profile_names
from provenafs.fuse.mountpoint import containing
from provenafs.provena.client import Provena
from provenafs.tree.names import handle_of

_T = TypeVar("_T")
_HANDLE = re.compile(r"[^/\s]+/[^/\s]+")

TargetArgument = Annotated[
    str, typer.Argument(help="A handle, a dataset's directory, or any path inside a mount.")
]
ProfileOption = Annotated[str | None, typer.Option(help="Profile to use.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A dataset, perhaps a path below its `data` directory, and the mount it was found in."""

    handle: str
    path: str | None = None
    mountpoint: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a handle or follow a path. Raises ConfigError for what is neither."""
        path = Path(text).absolute()
        if os.path.lexists(path):
            # by-name and versions are links within the mount.
            return cls._of_path(text, path.resolve())
        handle = handle_of(text) or text
        if not _HANDLE.fullmatch(handle):
            raise ConfigError(f"'{text}' is neither a handle nor a path in a mount")
        return cls(handle)

    @classmethod
    def _of_path(cls, text: str, path: Path) -> Target:
        mount = containing(path)
        parts = () if mount is None else path.relative_to(mount.path).parts
        handle = handle_of(parts[0]) if parts else None
        if mount is None or handle is None:
            raise ConfigError(f"'{text}' does not lie in a dataset of a mount")
        below = "/".join(parts[2:]) if parts[1:2] == ("data",) else None
        return cls(handle, below, mount.path)

    def settings(self, profile: str | None) -> Settings:
        """Those of the profile, by default the one that the target is mounted with."""
        if profile is None and self.mountpoint is not None:
            status = json.loads((self.mountpoint / ".provenafs/status.json").read_bytes())
            # A mount may be told everything by its environment, as this verb then is too.
            profile = status["profile"] if status["profile"] in profile_names() else None
        return load_settings(profile=profile)


def ask(settings: Settings, question: Callable[[Provena], Awaitable[_T]]) -> _T:
    """Connect to the services and put one question to them."""

    async def run() -> _T:
        async with Provena.connect(settings) as provena:
            return await question(provena)

    return trio.run(run)


def confirm(what: str, *, yes: bool) -> None:
    """Ask before an act that others notice. Raises ConfigError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{what}: this asks for a confirmation, say --yes")
    typer.confirm(f"{what}?", abort=True)


def demand(text: str, what: str) -> str:
    """A text that must say something. Raises ConfigError if it is blank."""
    if not text.strip():
        raise ConfigError(f"the {what} is empty: say it in words")
    return text
