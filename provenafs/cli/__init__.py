"""The command line: one file per family of subcommands, without logic of its own."""

from __future__ import annotations

from provenafs.cli.app import main

__all__ = ["main"]
