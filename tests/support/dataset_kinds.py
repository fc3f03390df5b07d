"""Datasets of alice in every state and with every grant, and who may do what with them.

The table is the contract of the service: roles are never expanded, each action accepts any one of
a few; owners and admin have all; whatever writes needs the realm's role for writing, which bob
lacks; dave has no realm role at all, so everything is refused to him.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from tests.support.running_sandbox import RunningSandbox

CAROL = "10378.1/1451801"
OK, NO, RO = 0, errno.EACCES, errno.EROFS


@dataclass(frozen=True, slots=True)
class Kind:
    """How a dataset of alice comes about: who else may do what, and what became of it."""

    general: tuple[str, ...] = ("metadata-read", "dataset-data-read")
    team: tuple[str, ...] = ()
    """The roles of the group that bob and carol are in."""
    fate: str = "open"


@dataclass(frozen=True, slots=True)
class May:
    """What somebody may do with a dataset: 0, or the errno of the refusal."""

    see: int
    edit: int
    fetch: int
    share: int
    change: int
    govern: int
    """Lock, unlock, set access, ask for a release: the role admin, in any state."""


KINDS = {
    "open": Kind(),
    "pending": Kind(fate="pending"),
    "released": Kind(fate="released"),
    "locked": Kind(fate="locked"),
    "private": Kind(general=()),
    "team": Kind(general=(), team=("metadata-read", "dataset-data-read")),
    "record": Kind(general=("metadata-read",)),
    "files alone": Kind(general=("dataset-data-read", "dataset-data-write")),
    "editors": Kind(general=("metadata-write",)),
    "writers": Kind(general=("metadata-read", "dataset-data-write")),
    "pool": Kind(general=("metadata-read", "dataset-data-read", "dataset-data-write")),
    "admins": Kind(general=("admin",)),
}

_ALL = May(OK, OK, OK, OK, OK, OK)
_NONE = May(NO, NO, NO, NO, NO, NO)
_READ = May(OK, NO, OK, OK, NO, NO)
_FINAL = May(OK, OK, OK, OK, RO, OK)
_LOCKED = May(OK, NO, OK, OK, NO, OK)
_RECORD = May(OK, NO, NO, NO, NO, NO)

# By kind: alice and admin, bob, carol.
_TABLE = {
    "open": (_ALL, _READ, _READ),
    "pending": (_FINAL, _READ, _READ),
    "released": (_FINAL, _READ, _READ),
    "locked": (_LOCKED, _READ, _READ),
    "private": (_ALL, _NONE, _NONE),
    "team": (_ALL, _READ, _READ),
    "record": (_ALL, _RECORD, _RECORD),
    "files alone": (_ALL, _NONE, _NONE),
    "editors": (_ALL, _RECORD, May(OK, OK, NO, NO, NO, NO)),
    "writers": (_ALL, May(OK, NO, OK, NO, NO, NO), May(OK, NO, OK, NO, OK, NO)),
    "pool": (_ALL, _READ, May(OK, NO, OK, OK, OK, NO)),
    "admins": (_ALL, May(OK, NO, OK, NO, NO, NO), May(OK, OK, OK, NO, OK, OK)),
}


def may(kind: str, user: str) -> May:
    """What a user may do with a dataset of this kind."""
    owner, bob, carol = _TABLE[kind]
    return {"alice": owner, "admin": owner, "bob": bob, "carol": carol, "dave": _NONE}[user]


def make(sandbox: RunningSandbox, name: str, files: dict[str, bytes]) -> str:
    """A new dataset of this kind with these files; its handle."""
    kind = KINDS[name]
    handle = sandbox.mint("alice", f"Everybody's: {name}")
    for path, content in files.items():
        key = sandbox.prefix(handle) + path
        sandbox.s3().put_object(Bucket=sandbox.bucket, Key=key, Body=content)
    settings = {
        "owner": "alice",
        "general": kind.general,
        "groups": {"field-team": kind.team} if kind.team else {},
    }
    dataset = f"{sandbox.running.registry}/registry/entity/dataset"
    _do(sandbox, "alice", "PUT", f"{dataset}/auth/configuration?id={handle}", settings)
    if kind.fate == "locked":
        _do(sandbox, "alice", "PUT", f"{dataset}/locks/lock", {"id": handle, "reason": "A recount"})
    if kind.fate in ("pending", "released"):
        request = {"dataset_id": handle, "approver_id": CAROL, "notes": "Please"}
        _do(sandbox, "alice", "POST", f"{_release(sandbox)}/approval-request", request)
    if kind.fate == "released":
        decision = {"dataset_id": handle, "approve": True, "notes": "Good"}
        _do(sandbox, "carol", "PUT", f"{_release(sandbox)}/action-approval-request", decision)
    return handle


def _release(sandbox: RunningSandbox) -> str:
    return f"{sandbox.running.datastore}/release"


def _do(sandbox: RunningSandbox, user: str, method: str, url: str, body: Any) -> None:
    sandbox.api(user, method, url, json=body).raise_for_status()
