"""Names: handles as directory names, and display names as file names."""

from __future__ import annotations

import re

MAX_NAME_BYTES = 255

# A handle is PREFIX/NUMBER (ARDC: 10378.1/1451860); services in mock mode mint bare numbers.
_DIRECTORY_NAME = re.compile(r"(?P<prefix>[0-9]+(\.[0-9A-Za-z]+)*)-(?P<suffix>[0-9]+)|[0-9]{4,}")
_UNFIT = re.compile(r"[/\x00-\x1f\x7f]|%(?=[0-9A-Fa-f]{2})|^\.")


def directory_name(handle: str) -> str:
    """The name of a dataset's directory: the handle with '-' for '/'."""
    return handle.replace("/", "-")


def handle_of(name: str) -> str | None:
    """The handle whose directory would be called `name`; None if no handle looks like that."""
    match = _DIRECTORY_NAME.fullmatch(name)
    if match is None:
        return None
    if match["prefix"] is None:
        return name
    return f"{match['prefix']}/{match['suffix']}"


def escape(display_name: str, suffix: str = "") -> str:
    """A display name as a file name: unfit characters percent-escaped, 255 bytes with `suffix`.

    Names that begin with a dot are escaped too: '.' and '..' are taken, and the directories for
    people answer no dot names (desktops probe for many).
    """
    escaped = _UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", display_name)
    return _shorten(escaped, MAX_NAME_BYTES - len(suffix.encode())) + suffix


def _shorten(name: str, limit: int) -> str:
    """Cut to `limit` bytes of UTF-8, not within a character."""
    return name.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
