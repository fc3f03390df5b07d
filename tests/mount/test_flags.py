"""open() with every combination of flags on a mount, compared with a local directory."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.mounting import Drive

_ACCESS = {"rdonly": os.O_RDONLY, "wronly": os.O_WRONLY, "rdwr": os.O_RDWR}
_FLAGS = {
    name: getattr(os, f"O_{name}")
    for name in ("CREAT", "EXCL", "TRUNC", "APPEND", "DIRECTORY", "NOFOLLOW")
}
_TARGETS = ("missing", "file", "empty", "directory")
_CONTENT = b"as it was before"
_WRITTEN = b"new"


@pytest.mark.parametrize("access", _ACCESS)
@pytest.mark.parametrize("target", _TARGETS)
def test_flags_do_what_they_do_locally(
    writer: Drive, handle: str, tmp_path: Path, access: str, target: str
) -> None:
    remote, local = writer.data(handle), tmp_path
    found, expected = {}, {}
    for number, names in enumerate(_combinations()):
        flags = _ACCESS[access]
        for name in names:
            flags |= _FLAGS[name]
        found[names] = _outcome(remote, f"{number}", target, flags)
        expected[names] = _outcome(local, f"{number}", target, flags)
    assert found == expected


def _combinations() -> list[tuple[str, ...]]:
    return [
        names for size in range(len(_FLAGS) + 1) for names in itertools.combinations(_FLAGS, size)
    ]


def _outcome(folder: Path, name: str, target: str, flags: int) -> dict[str, Any]:
    """What opening a target comes to, and what can be done with the descriptor."""
    path = folder / name
    if target == "directory":
        path.mkdir()
    elif target != "missing":
        path.write_bytes(_CONTENT if target == "file" else b"")
    outcome: dict[str, Any] = {}
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        outcome["open"] = error.errno
    else:
        try:
            outcome |= _uses(descriptor)
        finally:
            os.close(descriptor)
    return outcome | {"after": _what_is_there(path)}


def _uses(descriptor: int) -> dict[str, Any]:
    return {
        "size at open": None if _is_directory(descriptor) else os.fstat(descriptor).st_size,
        "write": _attempt(lambda: os.write(descriptor, _WRITTEN)),
        "position": None if _is_directory(descriptor) else os.lseek(descriptor, 0, os.SEEK_CUR),
        "read": _attempt(lambda: os.pread(descriptor, 100, 0)),
        "truncate": _attempt(lambda: os.ftruncate(descriptor, 4)),
        "read cut": _attempt(lambda: os.pread(descriptor, 100, 0)),
        "sync": _attempt(lambda: os.fsync(descriptor)),
    }


def _is_directory(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


def _attempt(call: Any) -> Any:
    try:
        return call()
    except OSError as error:
        return error.errno


def _what_is_there(path: Path) -> Any:
    if not path.exists():
        return None
    return "directory" if path.is_dir() else path.read_bytes()
