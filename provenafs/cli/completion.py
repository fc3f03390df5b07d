"""completion: scripts that let a shell complete subcommands, options and what they take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that there is a script for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print the script that makes a shell complete provenafs."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(
        prog_name="provenafs", complete_var="_PROVENAFS_COMPLETE", shell=shell.value
    )
    # Many arguments are paths.
    print(script.replace(" --no-files", ""))
