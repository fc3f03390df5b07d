"""Options of verbs that are settings: described, and their defaults named, where settings are."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import ByteSize, SecretStr

from provenafs.config import Settings


def option(field: str) -> Any:
    """The option of a verb that sets a field: its help and default are the field's."""
    default = text_of(default_of(field))
    shown = f" [default: {default}]" if default else ""
    return typer.Option(help=f"{description_of(field)}{shown}", show_default=False)


def default_of(field: str) -> object:
    """What a setting is where nothing is said."""
    return Settings.model_fields[field].get_default(call_default_factory=True)


def description_of(field: str) -> str:
    """What a setting does, in one line."""
    return " ".join((Settings.model_fields[field].description or "").split())


def text_of(value: object) -> str:
    """A value as it would be written, for people; secrets masked."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, ByteSize):
        return value.human_readable().replace(".0", "")
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
