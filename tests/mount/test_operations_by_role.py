"""Each file operation as each person on each kind of dataset: done, or refused as the roles say.

To dave not even a mount is given: see test_roles.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.dataset_kinds import KINDS, May, make, may
from tests.support.mounting import Drive, mounted
from tests.support.running_sandbox import RunningSandbox

PEOPLE = ("alice", "bob", "carol", "admin")
_OWN = ("read", "overwritten", "cut", "renamed", "removed")


@pytest.fixture(scope="module")
def handles(sandbox: RunningSandbox) -> dict[str, str]:
    """A dataset of each kind, with files of their own for each person."""
    files = {f"{user}/{name}": b"content" for user in PEOPLE for name in _OWN}
    return {kind: make(sandbox, kind, files) for kind in KINDS}


@pytest.fixture(scope="module")
def drives(
    sandbox: RunningSandbox,
    handles: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Drive]]:
    """A mount of each person, made when the datasets were there."""
    home = tmp_path_factory.mktemp("roles")
    with ExitStack() as stack:
        yield {user: stack.enter_context(mounted(sandbox, user, home / user)) for user in PEOPLE}


@pytest.mark.parametrize("user", PEOPLE)
@pytest.mark.parametrize("kind", KINDS)
def test_each_operation(
    drives: dict[str, Drive], handles: dict[str, str], kind: str, user: str
) -> None:
    folder = drives[user].dataset(handles[kind])
    allowed = may(kind, user)
    expected = _expected(allowed)
    found = {name: _errno(operation) for name, operation in _operations(folder, user).items()}
    assert found == expected
    assert (folder.name in os.listdir(drives[user].path)) == (not allowed.see)


def _operations(folder: Path, user: str) -> dict[str, Callable[[], object]]:
    """What is tried, in this order."""
    own = folder / "data" / user
    return {
        "look up": folder.stat,
        "list": lambda: os.listdir(folder),
        "read metadata.json": (folder / "metadata.json").read_bytes,
        "read citation.cff": (folder / ".provena/citation.cff").read_bytes,
        "read a state of the record": (folder / "versions/metadata/0.json").read_bytes,
        "ask for roles": lambda: os.getxattr(folder, "user.provena.roles"),
        "save metadata.json": lambda: _edit(folder / "metadata.json", user),
        "set a reason": lambda: os.setxattr(folder, "user.provena.reason", b"to try"),
        "list data": lambda: os.listdir(folder / "data"),
        "list below data": lambda: os.listdir(own),
        "read": (own / "read").read_bytes,
        "share": lambda: os.getxattr(own / "read", "user.provena.share_url"),
        "create": lambda: (own / "new").write_bytes(b"new"),
        "overwrite": lambda: (own / "overwritten").write_bytes(b"new"),
        "truncate": lambda: os.truncate(own / "cut", 1),
        "set times": lambda: os.utime(own / "read", (1, 1)),
        "rename": lambda: os.rename(own / "renamed", own / "with another name"),
        "remove": lambda: os.unlink(own / "removed"),
        "make a directory": lambda: os.mkdir(own / "directory"),
    }


def _expected(allowed: May) -> dict[str, int]:
    seeing = ("look up", "list", "read metadata.json", "read citation.cff")
    changing = ("create", "overwrite", "truncate", "set times", "rename", "remove")
    return {
        **dict.fromkeys((*seeing, "read a state of the record", "ask for roles"), allowed.see),
        **dict.fromkeys(("save metadata.json", "set a reason"), allowed.edit),
        **dict.fromkeys(("list data", "list below data", "read"), allowed.fetch),
        "share": allowed.share,
        **dict.fromkeys((*changing, "make a directory"), allowed.change or allowed.fetch),
    }


def _edit(path: Path, user: str) -> None:
    document = json.loads(path.read_bytes())
    document["dataset_info"]["purpose"] = f"Edited by {user}"
    path.write_text(json.dumps(document))


def _errno(operation: Callable[[], object]) -> int:
    try:
        operation()
    except OSError as error:
        return error.errno or -1
    return 0
