"""The journal: staged files and pending operations, kept on disk for recovery after a crash.

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
import logging
import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from provenafs import private
from provenafs.content.journal_schema import (
    SCHEMA,
    Action,
    Intent,
    Row,
    State,
    Statement,
    changed_row,
    inserted,
    intent_of,
    intent_values,
    removed_row,
    row_of,
    row_values,
)
from provenafs.content.mount_lock import UNOWNED, MountLock, is_alive
from provenafs.errors import FSError
from provenafs.guard import in_thread
from provenafs.lib import sqlite

log = logging.getLogger(__name__)


_VERSION = 2
_BUSY_TIMEOUT_S = 30.0
_BUSY_PAUSE_S = 0.02


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
        self._connection = _connect(state_dir / "journal.sqlite")
        self._owner = MountLock(self._owners)
        self._waiting: list[_Ticket] = []
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)

    @property
    def owner(self) -> str:
        """The name of this mount in the journal."""
        return self._owner.name

    async def close(self) -> None:
        """Write pending changes and release the lock; the rows stay."""
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
        await self._run([inserted("staged", row_values(row))])

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
        rows = [row_of(found) for found in await self._select("staged")]
        return [(row, is_alive(self._owners, row.owner)) for row in rows]

    async def adopt(self) -> list[Row]:
        """Take over the rows of mounts that are gone; returns all rows that are now ours.

        Also what nobody is at and a close was acknowledged for: an earlier mount was refused it.
        """
        await self.flush()
        owners = await self._in_thread(self._adopt)
        if owners:
            log.info("adopted the unfinished work of %d earlier mounts", len(owners))
        return [row_of(found) for found in await self._select("staged") if found[1] == self.owner]

    # Intents

    async def record_intent(self, intent: Intent) -> None:
        """Write an intent; it is on disk when this returns."""
        await self._run([inserted("intents", intent_values(intent))])

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
        intents = [intent_of(found) for found in await self._select("intents")]
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


def new_intent(journal: Journal, action: Action, dataset: str, key: str) -> Intent:
    """A new intent of this mount, not yet written; further fields are set with `replace`."""
    return Intent(uuid.uuid4().hex, journal.owner, action, dataset, key, "", None, time.time())


def _connect(path: Path) -> sqlite3.Connection:
    private.prepare_database(path)
    try:
        return sqlite.connect(path, partial(_set_up, path), busy=_BUSY_TIMEOUT_S)
    except sqlite3.OperationalError as error:  # in use, a full disk: the journal itself is sound
        raise FSError(errno.EIO, f"{path} cannot be opened now ({error}): try again") from error
    except sqlite3.DatabaseError as error:
        message = f"{path} cannot be used as a journal ({error}); move it away to start a new one"
        raise FSError(errno.EIO, message) from error


def _set_up(path: Path, connection: sqlite3.Connection) -> None:
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    _bring_up(connection, path)


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
        for statement in SCHEMA.split(";"):
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


def _as_fs_error(error: Exception) -> FSError:
    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return FSError(errno.ENOSPC if full else errno.EIO, f"the journal cannot be written: {error}")
