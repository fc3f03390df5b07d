"""What the command line says of itself: examples, suggestions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from provenafs.cli.app import VERBS, app
from provenafs.cli.examples import EXAMPLES

ROOT: Any = get_command(app)


def subcommands(command: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """All that can be run, by the words that run it."""
    names = VERBS if not words else getattr(command, "commands", ())
    if words and not names:
        yield " ".join(words), command
    for name in names:
        yield from subcommands(command.get_command(None, name), *words, name)


def test_every_subcommand_has_an_example_that_it_takes() -> None:
    found = dict(subcommands(ROOT))
    assert found.keys() == EXAMPLES.keys()
    for name, command in found.items():
        lines = EXAMPLES[name].removeprefix('eval "$(').removesuffix(')"').split("; ")
        for line in lines:
            words = shlex.split(line.partition(" > ")[0])
            assert words[: name.count(" ") + 2] == ["provenafs", *name.split()]
            command.make_context(name, words[name.count(" ") + 2 :])  # fails for wrong use
        assert EXAMPLES[name] in command.epilog


@pytest.mark.parametrize(
    ("typed", "meant"), [("mont", "mount"), ("unmount", "umount"), ("serach", "search")]
)
def test_a_mistyped_subcommand_is_suggested(typed: str, meant: str) -> None:
    done = CliRunner().invoke(app, [typed])
    assert done.exit_code == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in done.stderr
