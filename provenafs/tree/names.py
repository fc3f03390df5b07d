"""Names: handles as directory names, and display names as file names."""

from __future__ import annotations

import re

from provenafs.provena.handles import directory_name, handle_of

__all__ = ["MAX_NAME_BYTES", "directory_name", "escape", "handle_of"]

MAX_NAME_BYTES = 255

_UNFIT = re.compile(r"[/\x00-\x1f\x7f]|%(?=[0-9A-Fa-f]{2})|^\.")


def escape(display_name: str, suffix: str = "") -> str:
    """A display name as a file name: unfit characters percent-escaped, 255 bytes with `suffix`.

    Names that begin with a dot are escaped too: '.' and '..' are taken, and the directories for
    people answer no dot names (desktops probe for many).
    """
    # The part that is cut off is not escaped: escaping makes nothing shorter.
    looked_at = display_name[: MAX_NAME_BYTES + 2]
    escaped = _UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", looked_at)
    return _shorten(escaped, max(0, MAX_NAME_BYTES - len(suffix.encode()))) + suffix


def _shorten(name: str, limit: int) -> str:
    """Cut to `limit` bytes of UTF-8, not within a character."""
    return name.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
