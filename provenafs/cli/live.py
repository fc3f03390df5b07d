"""Reads the live status files of a mount, without trusting them: it may be any user's mount."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provenafs.lib.deadline import within
from provenafs.provena.reading import parse_json

_LONGEST = 64 * 1024**2  # bytes
_ANSWERS_WITHIN_S = 2.0
_STATUS_KINDS: dict[str, type | tuple[type, ...]] = {
    "pid": int,
    "profile": str,
    "user": str,
    "datastore": str,
    "read_only": bool,
    "started": (int, float),
}


def status_of(mountpoint: Path) -> dict[str, Any]:
    """The account in status.json; {} where none that can be used comes in time."""
    try:
        found = _read(mountpoint, "status.json")
    except TimeoutError:
        return {}
    if not isinstance(found, dict):
        return {}
    usable = all(isinstance(found.get(name), kind) for name, kind in _STATUS_KINDS.items())
    return found if usable else {}


def pending(mountpoint: Path) -> list[dict[str, Any]]:
    """A mount's pending transfers; sizes in bytes. TimeoutError if it does not respond."""
    found = _read(mountpoint, "pending.json")
    return [row for row in found if _is_transfer(row)] if isinstance(found, list) else []


def _read(mountpoint: Path, name: str) -> Any:
    def read() -> bytes:
        with (mountpoint / ".provenafs" / name).open("rb") as file:
            return file.read(_LONGEST)

    try:
        return parse_json(within(_ANSWERS_WITHIN_S, read))
    except TimeoutError:
        raise
    except (OSError, ValueError):
        return None


def _is_transfer(row: object) -> bool:
    if not isinstance(row, dict):
        return False
    sizes = all(isinstance(row.get(name), int) for name in ("size", "sent"))
    return sizes and all(isinstance(row.get(name), str) for name in ("key", "state"))
