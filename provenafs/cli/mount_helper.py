"""mount.provenafs: the helper of mount(8) for `mount -t provenafs` and /etc/fstab."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from provenafs.cli.app import plain_app, run
from provenafs.cli.mount import mount_in_background
from provenafs.config import ConfigError, Settings, load_settings, nearest

_SOURCE = "provena:"
_SETTINGS = [name for name in Settings.model_fields if name not in ("profile", "token")]
_ITSELF = {"ro": ("read_only", "true"), "noexec": ("noexec", "true")}
# They are meant for mount(8), for systemd, or for what FUSE filesystems have no choice about.
_SYSTEM = re.compile(
    r"defaults|(no)?(auto|user|owner|group|fail)|users|_netdev|rw|exec|(no)?(suid|dev|iversion|mand)"
    r"|(no)?(atime|diratime|relatime|strictatime|lazytime)|sync|async|dirsync|silent|loud"
    r"|[xX]-.*|(comment|uhelper|helper)=.*"
)

_app = plain_app()


def main() -> NoReturn:
    """Mount as mount(8) asks for it; a failure is one sentence on stderr and an exit status."""
    run(_app)


@_app.command()
def mount(
    source: Annotated[str, typer.Argument(help="The profile, or provena: and the profile.")],
    mountpoint: Annotated[Path, typer.Argument(help="An empty directory.", parser=Path)],
    options: Annotated[
        list[str] | None,
        typer.Option("-o", help="Settings by their names in a profile, e.g. ttl=60,allow_other."),
    ] = None,
    sloppy: Annotated[bool, typer.Option("-s", help="Pass over unknown options.")] = False,
    fake: Annotated[bool, typer.Option("-f", help="Check the options and mount nothing.")] = False,
    _no_mtab: Annotated[bool, typer.Option("-n", help="No effect.")] = False,
    _verbose: Annotated[bool, typer.Option("-v", help="No effect.")] = False,
    _type: Annotated[str | None, typer.Option("-t", help="No effect.")] = None,
) -> None:
    """Mount a profile of provenafs; meant to be run by mount(8)."""
    given = settings_of(",".join(options or []), is_sloppy=sloppy)
    load = partial(load_settings, profile=source.removeprefix(_SOURCE), **given)
    if fake:
        load()
    else:
        mount_in_background(mountpoint, load)


def settings_of(options: str, *, is_sloppy: bool = False) -> dict[str, Any]:
    """The options of one line of fstab(5) as fields of `Settings`.

    An option without a value is `true`; values of `datasets`, which may be repeated, are joined.
    Raises ConfigError for an option that is unknown, unless `is_sloppy`.
    """
    given: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        name, value = _ITSELF.get(option, (name, value if equals else "true"))
        if name in _SETTINGS:
            is_more = name == "datasets" and name in given
            given[name] = f"{given[name]},{value}" if is_more else value
        elif not is_sloppy and not _SYSTEM.fullmatch(option):
            raise ConfigError(_unknown(name))
    return given


def _unknown(name: str) -> str:
    if name == "token":
        return "a token in a mount option can be read by everybody: use token_file"
    return f"unknown mount option '{name}'{nearest(name, _SETTINGS)}"
