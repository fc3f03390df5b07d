"""The durable state of the sandbox: one SQLite file of JSON documents and registry rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from provenafs import private

Document = dict[str, Any]
"""One stored JSON object."""

_SORT_ATTRIBUTES = (
    "updated_timestamp",
    "created_timestamp",
    "display_name",
    "access_info_uri",
    "release_timestamp",
)

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, item_subtype TEXT, release_approver TEXT,
    updated_timestamp INTEGER, created_timestamp INTEGER, display_name TEXT,
    access_info_uri TEXT, release_timestamp INTEGER, document TEXT NOT NULL
);
{
    "".join(
        f"CREATE INDEX IF NOT EXISTS items_by_{attribute} ON items (item_subtype, {attribute}, id);"
        for attribute in _SORT_ATTRIBUTES
    )
}
"""


class Kind(StrEnum):
    """The tables of JSON documents beside the registry's items."""

    ACCESS = "access"
    LOCK = "lock"
    LINK = "link"
    GROUP = "group"
    JOB = "job"
    REVIEWER = "reviewer"
    SESSION = "session"
    DEVICE = "device"
    SETTING = "setting"


class Store:
    """Items and documents in one SQLite file.

    Calls are short and made in the event loop, so what a route checks and then writes without an
    await in between is one step to every other request.
    """

    def __init__(self, path: Path) -> None:
        private.top_folder(path.parent)
        private.prepare_database(path)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; the store is unusable afterwards."""
        self._database.close()

    def get(self, kind: Kind, key: str) -> Document | None:
        """A copy of one document, or None."""
        row = self._database.execute(
            "SELECT document FROM documents WHERE kind = ? AND id = ?", (kind, key)
        ).fetchone()
        return None if row is None else _decoded(row[0])

    def put(self, kind: Kind, key: str, document: Document) -> None:
        """Write one document over the one of the same key."""
        self._database.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, json.dumps(document))
        )

    def remove(self, kind: Kind, key: str) -> bool:
        """Remove one document; whether there was one."""
        cursor = self._database.execute(
            "DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key)
        )
        return cursor.rowcount > 0

    def all(self, kind: Kind) -> Iterator[tuple[str, Document]]:
        """Every document of a kind with its key, by key."""
        rows = self._database.execute(
            "SELECT id, document FROM documents WHERE kind = ? ORDER BY id", (kind,)
        ).fetchall()
        return ((key, _decoded(text)) for key, text in rows)

    def next_number(self, sequence: str, first: int) -> int:
        """The next number of a durable sequence that begins at `first`."""
        row = self.get(Kind.SETTING, f"sequence:{sequence}")
        number = first if row is None else int(row["next"])
        self.put(Kind.SETTING, f"sequence:{sequence}", {"next": number + 1})
        return number

    def item(self, item_id: str) -> Document | None:
        """A copy of one registry row, or None."""
        row = self._database.execute(
            "SELECT document FROM items WHERE id = ?", (item_id,)
        ).fetchone()
        return None if row is None else _decoded(row[0])

    def items(self) -> Iterator[Document]:
        """Every registry row, by id."""
        rows = self._database.execute("SELECT document FROM items ORDER BY id").fetchall()
        return (_decoded(text) for (text,) in rows)

    def put_item(self, item: Document) -> None:
        """Write one registry row, indexed by its own attributes, over the one of the same id."""
        columns = ("id", "item_subtype", "release_approver", *_SORT_ATTRIBUTES)
        names = ", ".join((*columns, "document"))
        marks = ", ".join("?" * (len(columns) + 1))
        self._database.execute(
            f"INSERT OR REPLACE INTO items ({names}) VALUES ({marks})",
            (*(item.get(column) for column in columns), json.dumps(item)),
        )

    def remove_item(self, item_id: str) -> None:
        """Remove one registry row."""
        self._database.execute("DELETE FROM items WHERE id = ?", (item_id,))

    def query(
        self,
        sort_attribute: str,
        where: Document,
        *,
        ascending: bool,
        limit: int,
        after: tuple[Any, str] | None = None,
        begins_with: str | None = None,
    ) -> list[Document]:
        """Up to `limit` rows that have `sort_attribute` and equal `where`, in its order.

        `after` is the sort value and id of the previous page's last row; ties are ordered by id.
        """
        clauses = [f"{sort_attribute} IS NOT NULL", *(f"{column} = ?" for column in where)]
        values: list[Any] = [*where.values()]
        if begins_with is not None:
            clauses.append(f"substr({sort_attribute}, 1, ?) = ?")
            values += [len(begins_with), begins_with]
        if after is not None:
            clauses.append(f"({sort_attribute}, id) {'>' if ascending else '<'} (?, ?)")
            values += after
        direction = "ASC" if ascending else "DESC"
        rows = self._database.execute(
            f"SELECT document FROM items WHERE {' AND '.join(clauses)}"
            f" ORDER BY {sort_attribute} {direction}, id {direction} LIMIT ?",
            (*values, limit),
        ).fetchall()
        return [_decoded(text) for (text,) in rows]


def _decoded(text: str) -> Document:
    document: Document = json.loads(text)
    return document
