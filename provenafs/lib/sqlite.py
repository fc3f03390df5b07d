"""Opens SQLite databases with a checked schema version."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

_BUSY_S = 5.0


def connect(
    name: Path | str, set_up: Callable[[sqlite3.Connection], object], *, busy: float = _BUSY_S
) -> sqlite3.Connection:
    """Open a database, or make it; in autocommit mode, and for any thread, but one at a time.

    `busy`: how many seconds a statement waits for other processes. Raises sqlite3.Error and
    whatever `set_up` does.
    """
    connection = sqlite3.connect(name, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_disposable(
    name: Path | str, pragmas: str, schema: str, version: int
) -> sqlite3.Connection:
    """As `connect`; sqlite3.DatabaseError where its tables are damaged or of another version."""

    def set_up(connection: sqlite3.Connection) -> None:
        connection.executescript(pragmas)
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, version):
            raise sqlite3.DatabaseError(f"schema version {found}, expected {version}")
        connection.executescript(schema)
        if not found:
            connection.execute(f"PRAGMA user_version = {version}")

    return connect(name, set_up)


def delete(path: Path) -> None:
    """Delete a database that is closed, with its side files. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
