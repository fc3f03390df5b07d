"""The object index: every entry the mount has shown, with its inode number, in SQLite.

Invariants
- An inode number is the row id of an entry, AUTOINCREMENT, never reused. Children of a directory
  get ascending numbers in listing order, so a directory is read in inode order with a cursor.
- An object changed by another client gets a new row, and so a new number; our own writes and
  renames keep it.
- Every listing and every change of our own takes a stamp from one ascending counter. A listing
  touches only rows older than itself, so a LIST that was under way while we wrote or deleted
  neither brings the old state back nor removes the new one.
- The times of a directory are when its content was last seen to change: ours at once, that of
  others when a LIST shows it. Its first LIST shows no change, since nothing was known before.
- What was set here (`mtime_ns`, `ctime_ns`, `mode`) stands for as long as the object does: until
  a LIST shows another ETag, or another time of storing than the first LIST after our change did.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from provenafs.content.listing.database import Database

ROOT_INO = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    ino INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    etag TEXT,
    modified_ns INTEGER NOT NULL DEFAULT 0,
    mtime_ns TEXT, -- in the year 9999 it has more than 64 bits
    ctime_ns INTEGER,
    mode INTEGER,
    storage_class TEXT,
    staged INTEGER NOT NULL DEFAULT 0,
    listed_at REAL NOT NULL DEFAULT 0,
    stamp INTEGER NOT NULL DEFAULT 0,
    UNIQUE (parent, name)
);
CREATE INDEX IF NOT EXISTS entries_by_parent ON entries (parent);
INSERT OR IGNORE INTO entries (ino, parent, name, kind) VALUES (1, 0, '', 3);
"""
_VERSION = 2
_COLUMNS = (
    "ino, parent, name, kind, size, etag, modified_ns, mtime_ns, ctime_ns, mode, storage_class,"
    " staged, listed_at"
)


class Kind(IntEnum):
    """The kind of an entry."""

    DIRECTORY = 1  # a common prefix or marker in the bucket
    OBJECT = 2
    VIRTUAL = 3  # made by the tree itself: dataset directories, documents, links


_KINDS = {kind.value: kind for kind in Kind}  # a tenth of the time of Kind(value)


# A named tuple, made for every name of every listing: a dataclass would take four times as long.
class Entry(NamedTuple):
    """One row: size in bytes, times in nanoseconds since the epoch but for `listed_at`.

    `modified_ns` is when LIST says that an object was stored, 0 where it has not said so yet; of a
    directory, when it was first seen. `mtime_ns`, `ctime_ns` and `mode` (permission bits) are what
    this client knows better than LIST, else None. `storage_class` None is the standard one.
    `staged` entries are authoritative locally: listings leave them alone.
    `listed_at` is when a directory's children were last listed, in seconds; 0 for never.
    """

    ino: int
    parent: int
    name: str
    kind: Kind
    size: int
    etag: str | None
    modified_ns: int
    mtime_ns: int | None
    ctime_ns: int | None
    mode: int | None
    storage_class: str | None
    staged: bool
    listed_at: float

    @property
    def shown_mtime_ns(self) -> int:
        """When its content last changed, or the time it was given."""
        return self.modified_ns if self.mtime_ns is None else self.mtime_ns

    @property
    def shown_ctime_ns(self) -> int:
        """When its content or attributes last changed."""
        return self.modified_ns if self.ctime_ns is None else self.ctime_ns


@dataclass(frozen=True, slots=True)
class Listed:
    """A child as a LIST returns it; `etag` None means a directory."""

    name: str
    size: int = 0
    etag: str | None = None
    modified_ns: int = 0
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class Invalidation:
    """An entry that vanished from `parent`, or whose `name` now means another inode.

    The kernel has to be told: forget the name, and the pages of the inode. An empty `name` is a
    directory whose times have changed: its attributes are to be forgotten.
    """

    parent: int
    name: str
    ino: int


class Index:
    """Entries by inode number and by parent and name."""

    def __init__(self, path: Path | None) -> None:
        """Open the index at `path`, or one in memory."""
        try:
            self._open(path)
        except sqlite3.DatabaseError:  # damaged: the database has deleted it
            self._open(path)
        self._running: set[int] = set()  # stamps of listings under way
        self._removed: dict[tuple[int, str], int] = {}  # our deletions while listings run
        self._expired: dict[int, int] = {}  # directories found out of date while listings run

    def _open(self, path: Path | None) -> None:
        self.database = Database(path, _SCHEMA, _VERSION)
        self._remove_orphans()
        self._stamp: int = self._execute("SELECT coalesce(max(stamp), 0) FROM entries").fetchone()[
            0
        ]

    def close(self) -> None:
        """Close the database; the file stays for the next mount."""
        self.database.close()

    # Reading

    def get(self, ino: int) -> Entry | None:
        """The entry with this inode number."""
        return self._one("SELECT {} FROM entries WHERE ino = ?", ino)

    def child(self, parent: int, name: str, since: int = 0) -> Entry | None:
        """The entry called `name` in `parent`, if the listing with stamp `since` has seen it."""
        return self._one(
            "SELECT {} FROM entries WHERE parent = ? AND name = ? AND (stamp >= ? OR staged)",
            parent, name, since,
        )  # fmt: skip

    def children(self, parent: int, after: int = 0, limit: int = -1) -> list[Entry]:
        """Entries of `parent` with inode numbers above `after`, ascending; `limit` -1 for all."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM entries WHERE parent = ? AND ino > ? ORDER BY ino LIMIT ?",
            (parent, after, limit),
        )
        return [_entry(row) for row in rows]

    def last_child(self, parent: int) -> int:
        """The highest inode number in `parent`; 0 if it is empty."""
        row = self._execute("SELECT max(ino) FROM entries WHERE parent = ?", (parent,)).fetchone()
        return int(row[0] or 0)

    def path(self, ino: int) -> tuple[Entry, ...]:
        """The entries from below the root down to `ino`; empty if any is gone."""
        chain: list[Entry] = []
        while ino != ROOT_INO:
            entry = self.get(ino)
            if entry is None:
                return ()
            chain.append(entry)
            ino = entry.parent
        return tuple(reversed(chain))

    # Entries of our own making

    def get_or_create(self, parent: int, name: str, kind: Kind = Kind.VIRTUAL) -> Entry:
        """The entry called `name` in `parent`, made if there is none, or of another kind."""
        found = self.child(parent, name)
        if found is not None:
            if found.kind is kind:
                return found
            self.remove(found.ino)
        now = time.time_ns()
        cursor = self._execute(
            "INSERT INTO entries (parent, name, kind, modified_ns, stamp) VALUES (?, ?, ?, ?, ?)",
            (parent, name, kind, now, self._next_stamp()),
        )
        self._removed.pop((parent, name), None)
        if kind is not Kind.VIRTUAL:
            self._note_content(parent, now)
        entry = self.get(cursor.lastrowid or 0)
        assert entry is not None
        return entry

    def create(self, parent: int, name: str, kind: Kind) -> Entry:
        """A new entry; one that a listing under way is about to remove is not taken for it."""
        found = self.child(parent, name)
        if found is not None:
            self.remove(found.ino)
        return self.get_or_create(parent, name, kind)

    def update(self, ino: int, **columns: Any) -> None:
        """Set columns of an entry after a change of our own; the inode number stays.

        Columns: size, etag, modified_ns, mtime_ns, ctime_ns, mode, staged, listed_at.
        """
        if columns.get("mtime_ns") is not None:
            columns["mtime_ns"] = str(columns["mtime_ns"])
        settings = ", ".join(f"{column} = ?" for column in columns)
        self._execute(
            f"UPDATE entries SET {settings}, stamp = ? WHERE ino = ?",
            (*columns.values(), self._next_stamp(), ino),
        )

    def revert_to_bucket(self, ino: int, size: int, etag: str) -> None:
        """Give up local authority over an entry: the next listing, or one under way, decides.

        Until then it is the object version `etag` of `size` bytes: both, since a size that
        belongs to other bytes makes readers ask for what is not there.
        """
        self._execute(
            "UPDATE entries SET size = ?, etag = ?, staged = 0, stamp = 0, mtime_ns = NULL,"
            " ctime_ns = NULL, mode = NULL, modified_ns = CASE modified_ns WHEN 0"
            " THEN coalesce(ctime_ns, 0) ELSE modified_ns END WHERE ino = ?",
            (size, etag, ino),
        )

    def learn(self, ino: int, etag: str, mtime_ns: int, mode: int | None) -> None:
        """Keep the attributes of the object with this ETag, unless the entry has changed."""
        self._execute(
            "UPDATE entries SET mtime_ns = ?, mode = coalesce(mode, ?)"
            " WHERE ino = ? AND etag = ? AND mtime_ns IS NULL AND NOT staged",
            (str(mtime_ns), mode, ino, etag),
        )

    def move(self, ino: int, parent: int, name: str) -> None:
        """Give an entry another name after a rename of our own; what a LIST saw there goes."""
        entry = self.get(ino)
        if entry is None:
            return
        listed = self.child(parent, name)
        if listed is not None and listed.ino != ino:
            self._delete_subtree([listed.ino])
        self.note_removal(entry.parent, entry.name)
        self._removed.pop((parent, name), None)
        now = time.time_ns()
        self._keep_times(ino)
        self.update(ino, parent=parent, name=name, ctime_ns=now)
        for directory in {entry.parent, parent}:
            self._note_content(directory, now)
        if self._running and entry.kind is Kind.DIRECTORY:
            self._shield(ino)

    def _shield(self, ino: int) -> None:
        """Let no listing that is under way, of the old keys, decide on what is in a directory."""
        stamp = self._next_stamp()
        below = (
            "WITH RECURSIVE below (ino) AS (VALUES (?) UNION ALL"
            " SELECT entries.ino FROM entries JOIN below ON entries.parent = below.ino)"
        )
        self._execute(
            f"{below} UPDATE entries SET stamp = ?, listed_at = 0 WHERE ino IN below", (ino, stamp)
        )
        directories = self._execute(
            f"{below} SELECT ino FROM entries WHERE kind = ? AND ino IN below",
            (ino, Kind.DIRECTORY),
        )
        self._expired.update((directory, stamp) for (directory,) in directories)

    def remove(self, ino: int) -> None:
        """Forget an entry and everything below it, after a deletion of our own."""
        entry = self.get(ino)
        if entry is None:
            return
        self.note_removal(entry.parent, entry.name)
        self._delete_subtree([ino])
        if entry.kind is not Kind.VIRTUAL:
            self._note_content(entry.parent, time.time_ns())

    def note_removal(self, parent: int, name: str) -> None:
        """Let no listing that is under way bring back a name that was removed."""
        if self._running:
            self._removed[parent, name] = self._next_stamp()

    def unstage_all(self) -> None:
        """Drop entries staged by an earlier process: the next listings show the stored objects."""
        self._execute(
            "UPDATE entries SET listed_at = 0"
            " WHERE ino IN (SELECT parent FROM entries WHERE staged)"
        )
        self._execute("DELETE FROM entries WHERE staged")

    def expire_all(self) -> None:
        """Have every directory listed again: a killed process may not have noted its changes."""
        self._execute("UPDATE entries SET listed_at = 1 WHERE listed_at > 1")

    # Listings

    def begin_listing(self) -> int:
        """Start merging a LIST; must be called before the request is sent. Returns its stamp."""
        stamp = self._next_stamp()
        self._running.add(stamp)
        return stamp

    def merge(self, stamp: int, parent: int, page: Sequence[Listed]) -> list[Invalidation]:
        """Merge a page of children into `parent`; returns the entries it replaced.

        A directory also replaces an object that an earlier page of the same listing showed.
        """
        removed, now = self._removed, time.time_ns()
        rows = [
            (parent, item.name, Kind.DIRECTORY, 0, None, now, None, stamp)
            if item.etag is None
            else (parent, item.name, Kind.OBJECT, item.size, item.etag, item.modified_ns,
                  item.storage_class, stamp)
            for item in page
            if removed.get((parent, item.name), 0) < stamp
        ]  # fmt: skip

        def work() -> list[Invalidation]:
            last = self.last_child(parent)
            self._upsert(rows)
            changes = self._replaced(stamp, parent, rows)
            if changes:
                self._delete_subtree([change.ino for change in changes])
                self._upsert(rows)
            if changes or self.last_child(parent) > last:
                changes += self._note_seen(parent, now)
            return changes

        return self.database.transact(work)

    def finish_listing(
        self, stamp: int, parent: int, listed_at: float | None = None
    ) -> list[Invalidation]:
        """Remove what the LIST of `parent` no longer showed and note the time of listing.

        `listed_at` is in seconds since the epoch.
        """
        gone = [
            Invalidation(parent, name, ino)
            for ino, name in self._execute(
                "SELECT ino, name FROM entries WHERE parent = ? AND stamp < ? AND NOT staged",
                (parent, stamp),
            )
        ]
        if self._expired.get(parent, 0) > stamp:
            listed_at = 0.0
        noted_at = time.time() if listed_at is None else listed_at

        def work() -> list[Invalidation]:
            self._delete_subtree([change.ino for change in gone])
            changes = gone + (self._note_seen(parent, time.time_ns()) if gone else [])
            self._execute(
                "UPDATE entries SET listed_at = ?, mtime_ns = coalesce(mtime_ns, modified_ns)"
                " WHERE ino = ?",
                (noted_at, parent),
            )
            return changes

        return self.database.transact(work)

    def end_listing(self, stamp: int) -> None:
        """The LIST is over, finished or given up."""
        self._running.discard(stamp)
        if not self._running:
            self._removed.clear()
            self._expired.clear()

    def expire(self, ino: int) -> None:
        """Make the next use of a directory list it again."""
        if self._running:
            self._expired[ino] = self._next_stamp()
        self._execute("UPDATE entries SET listed_at = 0 WHERE ino = ?", (ino,))

    def _upsert(self, rows: Iterable[Sequence[Any]]) -> None:
        # Equal bytes that were stored again may have got other metadata with them.
        stands = "CASE WHEN etag IS NULL OR modified_ns IN (0, excluded.modified_ns) THEN"
        self.database.execute_many(
            "INSERT INTO entries"
            " (parent, name, kind, size, etag, modified_ns, storage_class, stamp)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (parent, name) DO UPDATE SET"
            f" mtime_ns = {stands} mtime_ns END,"
            f" ctime_ns = {stands} ctime_ns END,"
            f" mode = {stands} mode END,"
            " modified_ns = CASE WHEN etag IS NULL THEN modified_ns ELSE excluded.modified_ns END,"
            " size = excluded.size, storage_class = excluded.storage_class,"
            " stamp = excluded.stamp"
            " WHERE kind = excluded.kind AND etag IS excluded.etag AND NOT staged"
            " AND stamp < excluded.stamp",
            rows,
        )

    def _keep_times(self, ino: int) -> None:
        """Keep the times of objects that a rename stores again unchanged."""
        self._execute(
            "WITH RECURSIVE below (ino) AS ("
            " SELECT ? UNION ALL"
            " SELECT entries.ino FROM entries JOIN below ON entries.parent = below.ino)"
            " UPDATE entries SET mtime_ns = coalesce(mtime_ns, modified_ns),"
            " ctime_ns = coalesce(ctime_ns, modified_ns), modified_ns = 0"
            " WHERE ino IN below AND kind = ?",
            (ino, Kind.OBJECT),
        )

    def _note_content(self, directory: int, now: int) -> None:
        """We have changed what is in a directory."""
        self._execute(
            "UPDATE entries SET mtime_ns = ?, ctime_ns = ? WHERE ino = ?",
            (str(now), now, directory),
        )

    def _note_seen(self, directory: int, now: int) -> list[Invalidation]:
        """A LIST has shown what others changed in a directory; not if it is the first one."""
        cursor = self._execute(
            "UPDATE entries SET mtime_ns = ?, ctime_ns = ? WHERE ino = ? AND mtime_ns IS NOT NULL",
            (str(now), now, directory),
        )
        return [Invalidation(0, "", directory)] if cursor.rowcount else []

    def _replaced(
        self, stamp: int, parent: int, rows: Sequence[Sequence[Any]]
    ) -> list[Invalidation]:
        names = json.dumps([row[1] for row in rows])
        directories = json.dumps([row[1] for row in rows if row[2] is Kind.DIRECTORY])
        cursor = self._execute(
            "SELECT ino, name FROM entries WHERE parent = ? AND stamp < ? AND NOT staged"
            " AND name IN (SELECT value FROM json_each(?))"
            " UNION ALL"
            " SELECT ino, name FROM entries WHERE parent = ? AND stamp = ? AND NOT staged"
            " AND kind = ? AND name IN (SELECT value FROM json_each(?))",
            (parent, stamp, names, parent, stamp, Kind.OBJECT, directories),
        )
        return [Invalidation(parent, name, ino) for ino, name in cursor]

    def _remove_orphans(self) -> None:
        """A listing may end after its directory was removed."""
        orphans = self._execute(
            "SELECT ino FROM entries WHERE parent IN ("
            " SELECT parent FROM (SELECT DISTINCT parent FROM entries)"
            " WHERE parent <> 0 AND parent NOT IN (SELECT ino FROM entries))"
        )
        self._delete_subtree([ino for (ino,) in orphans])

    def _delete_subtree(self, inos: Sequence[int]) -> None:
        if not inos:
            return
        self._execute(
            "WITH RECURSIVE below (ino) AS ("
            " SELECT value FROM json_each(?)"
            " UNION ALL SELECT entries.ino FROM entries JOIN below ON entries.parent = below.ino)"
            " DELETE FROM entries WHERE ino IN below",
            (json.dumps(list(inos)),),
        )

    def _next_stamp(self) -> int:
        self._stamp += 1
        return self._stamp

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        return self.database.execute(statement, parameters)

    def _one(self, statement: str, *parameters: Any) -> Entry | None:
        row = self._execute(statement.format(_COLUMNS), parameters).fetchone()
        return None if row is None else _entry(row)


def _entry(row: Sequence[Any]) -> Entry:
    ino, parent, name, kind, size, etag, modified, mtime, ctime, mode, storage, staged, listed = row
    mtime = None if mtime is None else int(mtime)
    return Entry(
        ino, parent, name, _KINDS[kind], size, etag, modified, mtime, ctime, mode, storage,
        bool(staged), listed,
    )  # fmt: skip
