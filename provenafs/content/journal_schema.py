"""The rows of the journal: staged files and intents, and their tables."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Any

# Of a multipart upload: number, first byte, byte after the last, ETag, CRC32 in base64.
JournalPart = tuple[int, int, int, str, str | None]

# Changes of the journal that are made with others, in one transaction.
Statement = tuple[str, Sequence[Any]]

SCHEMA = """
CREATE TABLE IF NOT EXISTS staged (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key TEXT NOT NULL,
    base_etag TEXT,
    base_size INTEGER NOT NULL,
    size INTEGER NOT NULL,
    write_id TEXT NOT NULL,
    upload_id TEXT,
    parts TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at REAL NOT NULL,
    mtime_ns TEXT, -- in the year 9999 it has more than 64 bits
    mode INTEGER,
    replaces INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS intents (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    action TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key TEXT NOT NULL,
    target TEXT NOT NULL,
    etag TEXT,
    changed_at REAL NOT NULL,
    mtime_ns TEXT,
    mode INTEGER,
    details TEXT NOT NULL DEFAULT ''
);
"""


class State(Enum):
    """How far a staged file is."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"
    SENT = "sent"


class Action(Enum):
    """The operation of an intent in the bucket."""

    DELETE = "delete"  # an object whose name was removed
    RENAME = "rename"  # `key` becomes `target`; both end in a slash for a directory
    TOUCH = "touch"  # a self-copy that carries mtime and mode


@dataclass(frozen=True, slots=True)
class Row:
    """One staged file. Sizes in bytes, times in seconds since the epoch but for `mtime_ns`.

    `base_etag` is the object version it started from, None for a new object; `base_size` how many
    leading bytes of that version still counted when the row was last written. `write_id` marks
    the object that a publication makes. `parts` of `upload_id` are the only copy of what they hold.
    `mode` are permission bits that were set here. With `replaces` the object of `base_etag` is
    another file, whose name this one takes: what was stored beside its bytes goes with it.
    """

    id: str
    owner: str
    state: State
    dataset: str
    key: str
    base_etag: str | None
    base_size: int
    size: int
    write_id: str
    upload_id: str | None
    parts: tuple[JournalPart, ...]
    reason: str
    changed_at: float
    mtime_ns: int | None = None
    mode: int | None = None
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """One object that a rename moves to `target`, where `replaced` is the ETag that it replaces.

    `size` in bytes. `modified_ns` is the LastModified, in nanoseconds since the epoch; None where
    only this machine's clock told it.
    """

    key: str
    etag: str
    size: int
    modified_ns: int | None
    target: str
    replaced: str | None = None
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A change that is under way in the bucket.

    A rename is carried out on what it was made of: `moves`, None where an earlier version noted
    none; `rows`, the staged files that go with them; and `replaced`, those whose place they take.
    `reason`: why it is left to the user.
    """

    id: str
    owner: str
    action: Action
    dataset: str
    key: str
    target: str
    etag: str | None
    changed_at: float
    mtime_ns: int | None = None
    mode: int | None = None
    moves: tuple[Move, ...] | None = None
    rows: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    reason: str = ""


def new_row(owner: str, dataset: str, key: str) -> Row:
    """A row for a new staged file, not yet written."""
    name = uuid.uuid4().hex
    return Row(name, owner, State.OPEN, dataset, key, None, 0, 0, name, None, (), "", time.time())


def inserted(table: str, values: Sequence[Any]) -> Statement:
    return f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})", values


def removed_row(row_id: str) -> Statement:
    """The removal of a row."""
    return "DELETE FROM staged WHERE id = ?", (row_id,)


def changed_row(row_id: str, **columns: Any) -> Statement:
    """A change of a row; one that is not there stays away."""
    values = {**columns, "changed_at": time.time()}
    if "state" in values:
        values["state"] = values["state"].value
    if "parts" in values:
        values["parts"] = json.dumps(values["parts"])
    if "mtime_ns" in values:
        values["mtime_ns"] = _text(values["mtime_ns"])
    settings = ", ".join(f"{column} = ?" for column in values)
    return f"UPDATE staged SET {settings} WHERE id = ?", (*values.values(), row_id)


def row_values(row: Row) -> Sequence[Any]:
    return (
        row.id, row.owner, row.state.value, row.dataset, row.key, row.base_etag, row.base_size,
        row.size, row.write_id, row.upload_id, json.dumps(row.parts), row.reason,
        row.changed_at, _text(row.mtime_ns), row.mode, row.replaces,
    )  # fmt: skip


def row_of(values: Sequence[Any]) -> Row:
    columns = list(values)
    columns[2] = State(columns[2])
    columns[10] = tuple(tuple(part) for part in json.loads(columns[10]))
    columns[13] = _number(columns[13])
    columns[15] = bool(columns[15])
    return Row(*columns)


def intent_values(intent: Intent) -> Sequence[Any]:
    return (
        intent.id, intent.owner, intent.action.value, intent.dataset, intent.key, intent.target,
        intent.etag, intent.changed_at, _text(intent.mtime_ns), intent.mode, _details(intent),
    )  # fmt: skip


def _details(intent: Intent) -> str:
    moves = None if intent.moves is None else [astuple(move) for move in intent.moves]
    return json.dumps([moves, intent.rows, intent.replaced, intent.reason])


def intent_of(values: Sequence[Any]) -> Intent:
    *columns, details = values
    columns[2] = Action(columns[2])
    columns[8] = _number(columns[8])
    moves, rows, replaced, reason = json.loads(details or '[null, [], [], ""]')
    noted = None if moves is None else tuple(Move(*move) for move in moves)
    columns += [noted, tuple(rows), tuple(replaced), reason]
    return Intent(*columns)


def _text(time_ns: int | None) -> str | None:
    return None if time_ns is None else str(time_ns)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
