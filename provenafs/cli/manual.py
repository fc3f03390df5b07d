"""man: the manual page, made of the same definitions as the help (groff_man(7))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from provenafs import __version__
from provenafs.cli.app import EXIT_STATUS, VERBS, app
from provenafs.cli.examples import EXAMPLES
from provenafs.cli.options import default_of, description_of, text_of
from provenafs.config import Settings, environment_name


def man() -> None:
    """Print the manual page, as for `man -l -`."""
    print("\n".join(_page()))


def _page() -> Iterator[str]:
    yield f'.TH PROVENAFS 1 "" "provenafs {__version__}" "User commands"'
    yield from (".SH NAME", r"provenafs \- mount the datasets of a Provena data store as a drive")
    yield from (".SH SYNOPSIS", ".B provenafs", r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]")
    yield ".SH COMMANDS"
    root: Any = get_command(app)
    for name in VERBS:
        yield from _command(name, root.get_command(None, name))
    yield ".SH SETTINGS"
    yield "Each is a line of a profile and an environment variable; the flags of mount come first."
    for field in Settings.model_fields:
        yield from (".TP", rf"\fB{_text(field)}\fR, \fB{environment_name(field)}\fR")
        default = (Settings.model_fields[field].examples or [text_of(default_of(field))])[0]
        yield _text(description_of(field) + (f" Default: {default}." if default else ""))
    yield from (".SH EXIT STATUS", _text(EXIT_STATUS))
    yield ".SH FILES"
    yield from (".TP", ".I ~/.config/provenafs/profiles/NAME.toml", "The user's profiles.")
    yield from (".TP", ".I /etc/provenafs/profiles/NAME.toml", "Profiles for everybody.")
    yield from (".TP", ".I /etc/provenafs/defaults.toml", "Settings for everybody.")


def _command(name: str, command: Any) -> Iterator[str]:
    if command.hidden:
        return
    subcommands = getattr(command, "commands", {})
    for word, each in subcommands.items():
        yield from _command(f"{name} {word}", each)
    if subcommands:
        return
    context = typer.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f".SS provenafs {_text(name)} {_text(usage)}", _text(command.help or ""))
    for parameter in command.get_params(context):
        shown = parameter.get_help_record(context)
        if shown is not None and parameter.name != "help":
            yield from (".TP", rf"\fB{_text(shown[0])}\fR", _text(shown[1]))
    yield from (".PP", _text(f"Example: {EXAMPLES[name]}"))


def _text(text: str) -> str:
    """Words of one line, none of which is taken for a request or an escape."""
    line = " ".join(text.split()).replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{line}" if line.startswith(".") else line
