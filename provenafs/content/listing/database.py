"""The disposable SQLite database of a mount; in memory if the disk is full or read-only."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from provenafs.lib.sqlite import connect, connect_disposable, delete

log = logging.getLogger(__name__)

_PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;
"""
# EXCLUSIVE: one mount has it, so that its statements need no locks, and take a third less time.
# synchronous = OFF: what is lost by a power cut is fetched again; a database that does not open
# is deleted and recreated. WAL keeps it consistent under SIGKILL.
_DISK_TROUBLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_T = TypeVar("_T")


class Database:
    """One SQLite connection, used from the trio thread only.

    Statements are short (tens of microseconds; a listing page of 1,000 rows a few milliseconds).
    If the disk fills up or turns read-only, the database moves to memory and carries on.
    """

    def __init__(self, path: Path | None, schema: str, version: int) -> None:
        """Open `path` (None: in memory) with `schema`; another `version` starts from nothing."""
        self._path = path
        self._connection = self._open(path, schema, version)

    def _open(self, path: Path | None, schema: str, version: int) -> sqlite3.Connection:
        if path is not None:
            for _ in range(2):
                try:
                    return connect_disposable(path, _PRAGMAS, schema, version)
                except (sqlite3.DatabaseError, OSError) as error:
                    log.warning("cache database %s cannot be used (%s)", path, error)
                    if not _discard(path):
                        break
        return connect_disposable(":memory:", _PRAGMAS, schema, version)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._run(lambda: self._connection.execute(statement, parameters))

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one transaction."""
        rows = list(rows)
        self.transact(lambda: self._connection.executemany(statement, rows))

    def transact(self, work: Callable[[], _T]) -> _T:
        """Run `work` in one transaction, nested use in the outer one.

        It is run again where the disk has refused the first one.
        """
        return self._run(lambda: self._transact(work))

    def _run(self, work: Callable[[], _T]) -> _T:
        if self._connection.in_transaction:
            return work()  # the outermost one is repeated as a whole
        try:
            return work()
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGED and self._path is not None:
                log.error("%s is damaged, the next mount makes it anew: %s", self._path, error)
                _discard(self._path)
            if code not in _DISK_TROUBLE:
                raise
            self._move_to_memory(error)
            return work()

    def _transact(self, work: Callable[[], _T]) -> _T:
        if self._connection.in_transaction:
            return work()
        self._connection.execute("BEGIN")
        try:
            result = work()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def _move_to_memory(self, error: sqlite3.DatabaseError) -> None:
        log.warning("cache database continues in memory: %s", error)
        memory = connect(":memory:", self._connection.backup)
        self._connection.close()
        self._connection = memory

    def close(self) -> None:
        """Close the connection; the file stays for the next mount."""
        self._connection.close()


def _discard(path: Path) -> bool:
    """Delete a database and its side files; False where the disk does not let us."""
    try:
        delete(path)
    except OSError:
        return False
    return True
