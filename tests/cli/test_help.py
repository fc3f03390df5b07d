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
from provenafs.config import Settings
from tests.support.mounting import MountAs
from tests.support.running_sandbox import run_cli

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


def complete(environ: dict[str, str], *words: str) -> list[str]:
    """What bash is offered for the last word."""
    asked = {
        "COMP_WORDS": " ".join(("provenafs", *words)),
        "COMP_CWORD": str(len(words)),
        "_PROVENAFS_COMPLETE": "complete_bash",
    }
    done = run_cli(environ | asked)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_subcommands_profiles_mount_points_and_handles(mount_as: MountAs) -> None:
    drive = mount_as("alice")
    save = ("profile", "add", "reef", "--domain", "example.org", "--realm", "r", "--no-check")
    assert run_cli(drive.environ, *save).returncode == 0
    assert complete(drive.environ, "cac") == ["cache"]
    assert complete(drive.environ, "cache", "w") == ["warm"]
    assert complete(drive.environ, "whoami", "--prof") == ["--profile"]
    assert complete(drive.environ, "whoami", "--profile", "re") == ["reef"]
    assert complete(drive.environ, "profile", "remove", "re") == ["reef"]
    assert str(drive.path) in complete(drive.environ, "umount", str(drive.path)[:-2])
    assert "10378.1/1451860" in complete(drive.environ, "info", "10378.1/14518")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    done = CliRunner().invoke(app, ["completion", shell])
    assert f"_PROVENAFS_COMPLETE=complete_{shell}" in done.stdout
    assert "--no-files" not in done.stdout


def test_the_manual_page_has_every_subcommand_and_setting() -> None:
    page = CliRunner().invoke(app, ["man"]).stdout
    assert page.startswith(".TH PROVENAFS 1 ")
    plain = page.replace("\\-", "-").replace("\\(aq", "'")
    hidden = {"config docs"}
    for name, example in EXAMPLES.items():
        assert (f".SS provenafs {name} " in plain) == (name not in hidden)
        assert example in plain or name in hidden
    assert all(f"\\fB{field}\\fR, \\fBPROVENAFS_" in plain for field in Settings.model_fields)
    # Every line that begins with a dot is a request that man(7) knows.
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I"}
