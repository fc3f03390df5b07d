"""config: every setting, as rows of a table and as a page of the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from provenafs.cli.app import plain_app
from provenafs.cli.mount import mount
from provenafs.cli.options import default_of, description_of, text_of
from provenafs.cli.output import print_json, print_table
from provenafs.cli.target import JsonOption, ProfileOption
from provenafs.config import Settings, environment_name, flag_of, load_with_origins

app = plain_app(help="Settings: what they are and where they come from.", no_args_is_help=True)

_PAGE = """\
# Configuration

Every setting is a line in a file and an environment variable; those of a mount are flags of
`provenafs mount` too. This page is printed by `provenafs config docs`. `provenafs config show`
prints the settings with their values on this machine, and where each comes from.

What is named first wins:

1. the flag,
2. the environment variable,
3. the profile, `~/.config/provenafs/profiles/NAME.toml`, or, if the user has none of this name,
   `/etc/provenafs/profiles/NAME.toml`,
4. `/etc/provenafs/defaults.toml`, which may also name the `profile` to use,
5. the default.

The profile is the one named by `--profile`, `PROVENAFS_PROFILE` or `/etc/provenafs/defaults.toml`;
else the only one there is, unless flags or environment say where the instance is; else the one
called `default`.

Files are TOML: lines of `setting = value`. A key that is not known is refused, and so is a variable
that begins with `PROVENAFS_`; the nearest known one is named.

* A size is a number of bytes or one with a unit: `512MiB`, `10GiB`, `2GB`.
* A duration is a number of seconds or one with a unit: `500ms`, `30`, `5m`, `1h`.
* A list is a TOML array in a file and separated by commas in the environment; a flag is repeated.

| setting | default | flag | variable | what it says |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """A setting; `value` and `default` as JSON has them, secrets masked."""

    setting: str
    value: Any
    origin: str
    default: Any
    flag: str | None
    variable: str


@app.command()
def show(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show every setting: its value, where that comes from, its default, flag and variable."""
    settings, origins = load_with_origins(profile=profile)
    flags = _flags()
    rows = [
        _Row(
            field,
            _plain(getattr(settings, field)),
            origins.get(field, "default"),
            _plain(default_of(field)),
            flag_of(field) if flag_of(field) in flags else None,
            environment_name(field),
        )
        for field in Settings.model_fields
    ]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("setting", "value", "from", "default", "flag", "variable"),
        [
            (
                row.setting,
                text_of(getattr(settings, row.setting)),
                row.origin,
                text_of(default_of(row.setting)),
                row.flag or "",
                row.variable,
            )
            for row in rows
        ],
    )


@app.command(hidden=True)
def docs() -> None:
    """Print docs/configuration.md."""
    print(_PAGE + "\n".join(_documented()))


def _documented() -> Iterator[str]:
    flags = _flags()
    for field, info in Settings.model_fields.items():
        default = (info.examples or [text_of(default_of(field))])[0]
        flag = flag_of(field)
        cells = (
            f"`{field}`",
            f"`{default}`" if default else "",
            f"`{flag}`" if flag in flags else "",
            f"`{environment_name(field)}`",
            description_of(field),
        )
        yield f"| {' | '.join(cells)} |"


def _flags() -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in inspect.signature(mount).parameters}


def _plain(value: object) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return list(value) if isinstance(value, tuple) else str(value)
