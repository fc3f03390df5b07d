"""The journal: what this machine still owes the bucket, kept so that a crash forgets nothing.

A row stands for one staged file. Its states:

    (first byte) → OPEN ⇄ SENT → (row removed at the last release)
                    │ ↘
                    │   CLOSED → SENT        close was acknowledged before the upload
                    ↓      ↓
                    FAILED ←                 a close or fsync answered with an error

After a crash only CLOSED rows are sent without being asked; OPEN and FAILED rows wait for
`provenafs recover`. Each mount holds a lock file and its rows name it as their owner: rows are
taken over only when that lock is free, which the kernel sees to even after SIGKILL.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import trio

from provenafs import private
from provenafs.errors import FSError
from provenafs.guard import in_thread

log = logging.getLogger(__name__)

# Of a multipart upload: number, first byte, byte after the last, ETag, CRC32 in base64.
JournalPart = tuple[int, int, int, str, str | None]

# Changes of the journal that are made with others, in one transaction.
Statement = tuple[str, Sequence[Any]]

UNOWNED = ""  # the owner of what a living mount has left to recovery

_SCHEMA = """
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
_VERSION = 2
_BUSY_TIMEOUT_S = 30.0
_BUSY_PAUSE_S = 0.02


class State(Enum):
    """How far a staged file is."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"
    SENT = "sent"


class Action(Enum):
    """What an intent is about to do in the bucket."""

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
    `reason` says why it is left to the user.
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


class MountLock:
    """The lock file that says which mount is alive."""

    def __init__(self, folder: Path) -> None:
        private.folder(folder)
        self.name = uuid.uuid4().hex
        self._path = folder / f"{self.name}.lock"
        self._file = private.open_file(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let go of everything this owner has."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_alive(folder: Path, owner: str) -> bool:
    """Whether a mount holds this owner's lock."""
    if owner == UNOWNED:
        return False
    try:
        file = private.open_file(folder / f"{owner}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared: of two who look at once, neither is to take the other for the owner.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@dataclass(slots=True)
class _Ticket:
    """Statements that go into one transaction, and what became of them."""

    statements: Sequence[Statement]
    done: bool = False
    error: Exception | None = None


class Journal:
    """`journal.sqlite` in the state directory, shared by all mounts of a profile.

    What waits for the disk waits together: one transaction, and so one fsync, takes everything
    that gathered while the last one was written.
    """

    def __init__(self, state_dir: Path) -> None:
        """Open the journal; FSError(EIO) when it cannot be read."""
        private.top_folder(state_dir)
        self._owners = state_dir / "owners"
        self._owner = MountLock(self._owners)
        self._connection = _connect(state_dir / "journal.sqlite")
        self._waiting: list[_Ticket] = []
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)

    @property
    def owner(self) -> str:
        """The name of this mount in the journal."""
        return self._owner.name

    async def close(self) -> None:
        """Write what is left and let go of the lock; the rows stay."""
        with trio.CancelScope(shield=True):
            await self.flush()
        self._connection.close()
        self._owner.release()

    async def record(self, statements: Sequence[Statement]) -> None:
        """Make changes in one transaction: all are on disk when this returns, or none ever is."""
        if statements:
            await self._run(statements)

    # Staged files

    async def add(self, row: Row) -> None:
        """Write a row; it is on disk when this returns."""
        await self._run([_insert("staged", _row_values(row))])

    async def update(self, row_id: str, **columns: Any) -> None:
        """Change a row; it is on disk when this returns."""
        await self._run([changed_row(row_id, **columns)])

    def update_later(self, row_id: str, **columns: Any) -> None:
        """Change a row with the next transaction: for what may be lost in a crash."""
        self._waiting.append(_Ticket([changed_row(row_id, **columns)]))

    def remove_later(self, row_id: str) -> None:
        """Remove a row with the next transaction."""
        self._waiting.append(_Ticket([removed_row(row_id)]))

    async def remove(self, row_id: str) -> None:
        """Remove a row."""
        await self._run([removed_row(row_id)])

    async def rows(self) -> list[tuple[Row, bool]]:
        """All rows, oldest first, each with whether a mount is still at it."""
        rows = [_row(found) for found in await self._select("staged")]
        return [(row, is_alive(self._owners, row.owner)) for row in rows]

    async def adopt(self) -> list[Row]:
        """Take over the rows of mounts that are gone; returns all rows that are now ours.

        Also what nobody is at and a close was acknowledged for: an earlier mount was refused it.
        """
        await self.flush()
        owners = await self._in_thread(self._adopt)
        if owners:
            log.info("took over what %d ended mounts had left", len(owners))
        return [_row(found) for found in await self._select("staged") if found[1] == self.owner]

    # Intents

    async def record_intent(self, intent: Intent) -> None:
        """Write an intent; it is on disk when this returns."""
        await self._run([_insert("intents", _intent_values(intent))])

    async def complete_intent(self, *intent_ids: str) -> None:
        """Remove intents that were carried out."""
        await self._run([("DELETE FROM intents WHERE id = ?", (name,)) for name in intent_ids])

    def complete_intent_later(self, intent_id: str) -> None:
        """Remove an intent with the next transaction."""
        statement = ("DELETE FROM intents WHERE id = ?", (intent_id,))
        self._waiting.append(_Ticket([statement]))

    async def intents(self) -> list[Intent]:
        """The intents of this mount, taken-over ones included, oldest first."""
        return [intent for intent, _ in await self.all_intents() if intent.owner == self.owner]

    async def all_intents(self) -> list[tuple[Intent, bool]]:
        """All intents, oldest first, each with whether a mount is still at it."""
        intents = [_intent(found) for found in await self._select("intents")]
        return [(intent, is_alive(self._owners, intent.owner)) for intent in intents]

    # The database

    async def _run(self, statements: Sequence[Statement]) -> None:
        ticket = _Ticket(statements)
        self._waiting.append(ticket)
        async with self._lock:
            if not ticket.done:
                tickets, self._waiting = self._waiting, []
                await self._in_thread(lambda: self._commit(tickets))
        if ticket.error is not None:
            raise _as_fs_error(ticket.error) from ticket.error

    async def _in_thread(self, work: Any) -> Any:
        try:
            return await in_thread(work, limiter=self._limiter)
        except sqlite3.Error as error:
            raise _as_fs_error(error) from error

    async def flush(self) -> None:
        """Write what only waits for the next transaction."""
        if self._waiting:
            await self._run([])

    async def _select(self, table: str) -> list[tuple[Any, ...]]:
        await self.flush()
        query = f"SELECT * FROM {table} ORDER BY changed_at, id"
        async with self._lock:
            found: list[tuple[Any, ...]] = await self._in_thread(
                lambda: self._connection.execute(query).fetchall()
            )
        return found

    def _commit(self, tickets: Sequence[_Ticket]) -> None:
        try:
            self._transact(tickets)
        except Exception:
            for ticket in tickets:
                try:
                    self._transact([ticket])
                except Exception as error:
                    log.error("the journal cannot be written: %s", error)
                    ticket.error = error
        for ticket in tickets:
            ticket.done = True

    def _transact(self, tickets: Sequence[_Ticket]) -> None:
        statements = [statement for ticket in tickets for statement in ticket.statements]
        if not statements:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                self._connection.execute(statement, values)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _adopt(self) -> list[str]:
        # The immediate transaction keeps two mounts from taking over the same rows.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            query = "SELECT owner FROM staged UNION SELECT owner FROM intents"
            owners = [owner for (owner,) in self._connection.execute(query)]
            gone = [
                owner
                for owner in owners
                if owner not in (self.owner, UNOWNED) and not is_alive(self._owners, owner)
            ]
            for owner in gone:
                for table in ("staged", "intents"):
                    self._connection.execute(
                        f"UPDATE {table} SET owner = ? WHERE owner = ?", (self.owner, owner)
                    )
            self._connection.execute(
                "UPDATE staged SET owner = ? WHERE owner = ? AND state = ?",
                (self.owner, UNOWNED, State.CLOSED.value),
            )
        finally:
            self._connection.execute("COMMIT")
        for owner in gone:
            (self._owners / f"{owner}.lock").unlink(missing_ok=True)
        return gone


def new_row(owner: str, dataset: str, key: str) -> Row:
    """A row for a new staged file, not yet written."""
    name = uuid.uuid4().hex
    return Row(name, owner, State.OPEN, dataset, key, None, 0, 0, name, None, (), "", time.time())


def new_intent(
    journal: Journal,
    action: Action,
    dataset: str,
    key: str,
    *,
    target: str = "",
    etag: str | None = None,
    mtime_ns: int | None = None,
    mode: int | None = None,
    moves: tuple[Move, ...] | None = None,
    rows: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
) -> Intent:
    """An intent of this mount, not yet written."""
    return Intent(
        uuid.uuid4().hex, journal.owner, action, dataset, key, target, etag, time.time(),
        mtime_ns, mode, moves, rows, replaced,
    )  # fmt: skip


def _connect(path: Path) -> sqlite3.Connection:
    private.prepare_database(path)
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
        )
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        _bring_up(connection, path)
    except sqlite3.OperationalError as error:  # in use, a full disk: the journal itself is sound
        raise FSError(errno.EIO, f"{path} cannot be opened now ({error}): try again") from error
    except sqlite3.DatabaseError as error:
        message = f"{path} cannot be used as a journal ({error}); move it away to start a new one"
        raise FSError(errno.EIO, message) from error
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two mounts may make the journal at once, and for this SQLite does not wait by itself."""
    give_up_at = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > give_up_at:
                raise
        time.sleep(_BUSY_PAUSE_S)


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an earlier version up to this one."""
    connection.execute("BEGIN IMMEDIATE")  # no two mounts do so at once
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            message = f"{path} was written by a newer provenafs; use that one, or move it away"
            raise FSError(errno.EIO, message)
        if version == 0:
            _set_aside(path.with_name("staging"))
        if version == 1:
            _leave_version_1(connection)
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _set_aside(staging: Path) -> None:
    """What only a journal that is gone could tell of is kept: nobody knows whether it is owed."""
    if staging.is_dir() and any(staging.iterdir()):
        kept = staging.with_name(f"staging-{time.time_ns()}")
        staging.rename(kept)
        log.warning("the journal is a new one; the bytes that were staged before are in %s", kept)


def _leave_version_1(connection: sqlite3.Connection) -> None:
    """Version 1 had times in seconds and no modes, and renames without what they were made of."""
    for table in ("staged", "intents"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN mtime_ns TEXT")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN mode INTEGER")
        known = f"SELECT id, mtime FROM {table} WHERE mtime IS NOT NULL"
        for row_id, mtime in connection.execute(known).fetchall():
            connection.execute(
                f"UPDATE {table} SET mtime_ns = ? WHERE id = ?",
                (str(round(mtime * 1e6) * 1000), row_id),
            )
        connection.execute(f"ALTER TABLE {table} DROP COLUMN mtime")
    connection.execute("ALTER TABLE staged ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE intents ADD COLUMN details TEXT NOT NULL DEFAULT ''")


def _insert(table: str, values: Sequence[Any]) -> Statement:
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


def _row_values(row: Row) -> Sequence[Any]:
    return (
        row.id, row.owner, row.state.value, row.dataset, row.key, row.base_etag, row.base_size,
        row.size, row.write_id, row.upload_id, json.dumps(row.parts), row.reason,
        row.changed_at, _text(row.mtime_ns), row.mode, row.replaces,
    )  # fmt: skip


def _row(values: Sequence[Any]) -> Row:
    columns = list(values)
    columns[2] = State(columns[2])
    columns[10] = tuple(tuple(part) for part in json.loads(columns[10]))
    columns[13] = _number(columns[13])
    columns[15] = bool(columns[15])
    return Row(*columns)


def _intent_values(intent: Intent) -> Sequence[Any]:
    return (
        intent.id, intent.owner, intent.action.value, intent.dataset, intent.key, intent.target,
        intent.etag, intent.changed_at, _text(intent.mtime_ns), intent.mode, _details(intent),
    )  # fmt: skip


def _details(intent: Intent) -> str:
    moves = None if intent.moves is None else [astuple(move) for move in intent.moves]
    return json.dumps([moves, intent.rows, intent.replaced, intent.reason])


def _intent(values: Sequence[Any]) -> Intent:
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


def _as_fs_error(error: Exception) -> FSError:
    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return FSError(errno.ENOSPC if full else errno.EIO, f"the journal cannot be written: {error}")
