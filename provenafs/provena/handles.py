"""Handles: validation, and conversion to directory names and back.

Provena mints PREFIX/NUMBER (ARDC: 10378.1/1451860), and bare digits where it only plays handles.
Its registry takes any text, though, and a dataset must not hide the others for it: what can be a
file name is shown, `-` standing for the slash after a prefix and all else that may not stand in a
name percent-encoded (RFC 3986, UTF-8). What cannot be one (empty, too long, no text) has no name.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

# Bytes of a name, so that what is put before it (a rank, a display name) fits into 255 with it.
_LONGEST = 200
_USUAL = re.compile(r"[0-9]+(?:\.[0-9A-Za-z]+)*/[0-9]+|[0-9]{4,}")
_PREFIXED = re.compile(r"([0-9]+(?:\.[0-9A-Za-z]+)*)([/-])(.+)", re.DOTALL)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PLAIN = "!$&'()+,;=@"
_TAKEN = frozenset({"by-name", "mint", "search"})


def is_usual(handle: str) -> bool:
    """Whether Provena would mint such a handle: worth a request, even if no list has shown it."""
    return len(handle) <= _LONGEST and _USUAL.fullmatch(handle) is not None


def reads_as_handle(text: str) -> bool:
    """Whether a user's argument looks like a handle rather than a path or a mistake."""
    match = _PREFIXED.fullmatch(text)
    if match is not None and match[2] == "/":
        return has_name(text)
    return is_usual(text) or _UUID.fullmatch(text) is not None


def has_name(handle: str) -> bool:
    """Whether a directory can be called by this handle."""
    return _name(handle) is not None


def directory_name(handle: str) -> str:
    """The name of a dataset's directory; raises ValueError if there is none for such a handle."""
    name = _name(handle)
    if name is None:
        raise ValueError("such a handle cannot be a directory's name")
    return name


def handle_of(name: str) -> str | None:
    """The handle whose directory is called `name`; None if there is none."""
    if len(name) > _LONGEST:
        return None
    match = _PREFIXED.fullmatch(name)
    try:
        if match is not None and match[2] == "-":
            handle = f"{match[1]}/{unquote(match[3], errors='strict')}"
        else:
            handle = unquote(name, errors="strict")
    except UnicodeDecodeError:
        return None
    return handle if _name(handle) == name else None


def _name(handle: str) -> str | None:
    if not 0 < len(handle) <= _LONGEST:
        return None
    match = _PREFIXED.fullmatch(handle)
    try:
        if match is not None:
            # A dash that stands for itself must not read as the slash.
            dash = "-" if match[2] == "/" else "%2D"
            name = f"{match[1]}{dash}{quote(match[3], safe=_PLAIN)}"
        else:
            name = quote(handle, safe=_PLAIN)
    except UnicodeEncodeError:
        return None
    if name.startswith(".") or name in _TAKEN:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return name if len(name) <= _LONGEST else None
