"""The disposable SQLite database of a mount, which a full or read-only disk cannot take down."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;
"""
# EXCLUSIVE: one mount has it, so that its statements need no locks, and take a third less time.
# synchronous = OFF: what is lost by a power cut is fetched again; a database that does not open
# is deleted and made anew. WAL keeps it consistent under SIGKILL.


class Database:
    """One SQLite connection, used from the trio thread only.

    Statements are short (tens of microseconds; a listing page of 1,000 rows a few milliseconds).
    If the disk fills up or turns read-only, the database moves to memory and carries on.
    """

    def __init__(self, path: Path | None, schema: str, version: int) -> None:
        """Open `path` (None: in memory) with `schema`; another `version` starts from nothing."""
        self._connection = self._open(path, schema, version)

    def _open(self, path: Path | None, schema: str, version: int) -> sqlite3.Connection:
        if path is not None:
            for _ in range(2):
                try:
                    return self._connect(str(path), schema, version)
                except (sqlite3.DatabaseError, OSError) as error:
                    log.warning("cache database %s cannot be used (%s)", path, error)
                    if not _discard(path):
                        break
        return self._connect(":memory:", schema, version)

    def _connect(self, name: str, schema: str, version: int) -> sqlite3.Connection:
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        try:
            connection.executescript(_PRAGMAS)
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, version):
                raise sqlite3.DatabaseError(f"schema version {found}, expected {version}")
            connection.executescript(schema)
            connection.execute(f"PRAGMA user_version = {version}")
        except BaseException:
            connection.close()
            raise
        return connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        try:
            return self._connection.execute(statement, parameters)
        except sqlite3.OperationalError as error:
            self._move_to_memory(error)
            return self._connection.execute(statement, parameters)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one transaction."""
        rows = list(rows)
        try:
            with self.transaction():
                self._connection.executemany(statement, rows)
        except sqlite3.OperationalError as error:
            self._move_to_memory(error)
            with self.transaction():
                self._connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Group statements; nested use joins the outer transaction."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _move_to_memory(self, error: sqlite3.OperationalError) -> None:
        """Continue in memory when the disk refuses; any other error is a bug and is raised."""
        disk_trouble = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
        if error.sqlite_errorcode & 0xFF not in disk_trouble or self._connection.in_transaction:
            raise error
        log.warning("cache database continues in memory: %s", error)
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.backup(memory)
        self._connection.close()
        self._connection = memory

    def close(self) -> None:
        """Close the connection; the file stays for the next mount."""
        self._connection.close()


def _discard(path: Path) -> bool:
    """Delete a database and its side files; False where the disk does not let us."""
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError:
        return False
    return True
