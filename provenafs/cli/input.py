"""Input of subcommands: documents from files or the standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from provenafs.config import ConfigError


def read_document(file: str) -> bytes:
    """The bytes of a file; `-` is the standard input. Raises ConfigError."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
