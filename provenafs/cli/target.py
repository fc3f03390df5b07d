"""The target of a subcommand: a handle, a dataset's directory, or any path inside a mount."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import trio
import typer

from provenafs.cli.completing import profiles, targets
from provenafs.cli.live import status_of
from provenafs.config import ConfigError, Settings, load_settings, profile_names
from provenafs.fuse.mountpoint import MountError, containing
from provenafs.printable import printable
from provenafs.provena.client import Provena
from provenafs.provena.handles import handle_of, is_usual, reads_as_handle

_T = TypeVar("_T")

TargetArgument = Annotated[
    str,
    typer.Argument(
        help="A handle, a dataset's directory, or any path inside a mount.", autocompletion=targets
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(help="Profile to use.", show_default=False, autocompletion=profiles),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A dataset, perhaps a path below its `data` directory, and the mount it was found in."""

    handle: str
    path: str | None = None
    mountpoint: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a handle or resolve a path. Raises ConfigError if it is neither."""
        # by-name and versions are links within the mount.
        try:
            path = Path(text).resolve()
        except (OSError, RuntimeError, ValueError):
            raise ConfigError(f"'{text}' cannot be resolved: its links form a loop") from None
        handle = text if reads_as_handle(text) else handle_of(text) or text
        mount = containing(path)
        # Within a mount a handle reads like a relative path.
        if mount is not None and (os.path.lexists(path) or not reads_as_handle(handle)):
            return cls._within(text, path, mount.path)
        if reads_as_handle(handle):
            return cls(handle)
        if path.exists():
            raise ConfigError(f"'{text}' is not in a dataset of a mount")
        raise ConfigError(f"'{text}' is neither a handle nor a path in a mount")

    @classmethod
    def _within(cls, text: str, path: Path, mountpoint: Path) -> Target:
        name, *rest = path.relative_to(mountpoint).parts or ("",)
        handle = handle_of(name)
        # Any name may be that of a dataset whose handle is odd, if there is one.
        if handle is None or not (is_usual(handle) or os.path.lexists(mountpoint / name)):
            raise ConfigError(f"'{text}' is not in a dataset of a mount")
        if rest and not os.path.lexists(path):
            raise ConfigError(f"'{text}' does not exist")
        below = "/".join(rest[1:]) if rest[:1] == ["data"] else None
        return cls(handle, below, mountpoint)

    def settings(self, profile: str | None) -> Settings:
        """Those of the profile, by default the one that the target is mounted with."""
        if profile is None and self.mountpoint is not None:
            told = _profile(self.mountpoint)
            # A mount may be configured by its environment alone, and so is this subcommand then.
            profile = told if told in profile_names() else None
        return load_settings(profile=profile)


def _profile(mountpoint: Path) -> str:
    status = status_of(mountpoint)
    if not status:
        raise MountError(
            f"the mount at {mountpoint} does not answer: mount it again, or pass --profile"
        )
    return str(status["profile"])


def ask(settings: Settings, question: Callable[[Provena], Awaitable[_T]]) -> _T:
    """Connect to the services and run one request."""

    async def run() -> _T:
        async with Provena.connect(settings) as provena:
            return await question(provena)

    return trio.run(run)


def confirm(what: str, *, yes: bool) -> None:
    """Ask for confirmation. Raises ConfigError if there is no terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{printable(what)}: this needs a confirmation: pass --yes")
    typer.confirm(f"{printable(what)}?", abort=True)


def demand(text: str, what: str) -> str:
    """A text that is not blank. Raises ConfigError."""
    if not text.strip():
        raise ConfigError(f"the {what} must not be empty")
    return text
