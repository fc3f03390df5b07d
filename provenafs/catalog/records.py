"""The dataset records this client knows, in the mount's database: memory stays small, and a
remount starts with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from provenafs.catalog.dataset import Dataset
from provenafs.content.listing.database import Database
from provenafs.provena.records import DatasetRecord

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    handle TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    item TEXT NOT NULL,
    listing INTEGER NOT NULL DEFAULT 0,
    roles TEXT,
    locked INTEGER,
    fetched_at REAL NOT NULL DEFAULT 0
)
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """A dataset as the root and `by-name` need it; times in seconds since the epoch."""

    handle: str
    display_name: str
    created: int
    updated: int


class RecordStore:
    """Records by handle. `listing` numbers mark the records in the last complete list."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.execute(_SCHEMA)
        row = database.execute("SELECT coalesce(max(listing), 0) FROM records").fetchone()
        self.listing: int = row[0]
        """The number of the last complete list."""
        self.may_change = True
        """Whether the realm lets this user change anything, as the last token told."""

    def begin_listing(self) -> int:
        """A number for the list about to be read."""
        return self.listing + 1

    def put_listed(self, listing: int, records: Sequence[DatasetRecord]) -> None:
        """Store a page of the list."""
        self._database.execute_many(
            "INSERT INTO records (handle, display_name, created, updated, item, listing)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (handle) DO UPDATE SET"
            " display_name = excluded.display_name, updated = excluded.updated,"
            " item = excluded.item, listing = excluded.listing",
            [(*_columns(record), listing) for record in records],
        )

    def finish_listing(self, listing: int) -> None:
        """The list is complete: datasets it did not show are no longer listed."""
        self.listing = listing
        self._database.execute(
            "DELETE FROM records WHERE listing < ? AND fetched_at = 0", (listing,)
        )

    def put_fetched(self, dataset: Dataset) -> None:
        """Store a fetched record."""
        self._database.execute(
            "INSERT INTO records"
            " (handle, display_name, created, updated, item, roles, locked, fetched_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (handle) DO UPDATE SET"
            " display_name = excluded.display_name, updated = excluded.updated,"
            " item = excluded.item, roles = excluded.roles, locked = excluded.locked,"
            " fetched_at = excluded.fetched_at",
            (
                *_columns(dataset.record),
                json.dumps(sorted(dataset.roles)),
                dataset.locked,
                dataset.fetched_at,
            ),
        )

    def forget(self, handle: str) -> None:
        """Drop a dataset that does not exist, or that this user may not see."""
        self._database.execute("DELETE FROM records WHERE handle = ?", (handle,))

    def has(self, handle: str) -> bool:
        """Whether a list or a fetch has shown this dataset."""
        found = self._database.execute("SELECT 1 FROM records WHERE handle = ?", (handle,))
        return found.fetchone() is not None

    def listed(self) -> list[Summary]:
        """The datasets of the last complete list, oldest first."""
        cursor = self._database.execute(
            "SELECT handle, display_name, created, updated FROM records"
            " WHERE listing = ? AND listing > 0 ORDER BY created, handle",
            (self.listing,),
        )
        return [Summary(*row) for row in cursor]

    def listed_record(self, handle: str) -> DatasetRecord | None:
        """The record of a dataset that the last complete list showed."""
        row = self._database.execute(
            "SELECT item FROM records WHERE handle = ? AND listing = ? AND listing > 0",
            (handle, self.listing),
        ).fetchone()
        return None if row is None else DatasetRecord(json.loads(row[0]))

    def dataset(self, handle: str) -> Dataset | None:
        """The dataset as last fetched."""
        row = self._database.execute(
            "SELECT item, roles, locked, fetched_at FROM records"
            " WHERE handle = ? AND fetched_at > 0",
            (handle,),
        ).fetchone()
        if row is None:
            return None
        item, roles, locked, fetched_at = row
        return Dataset(
            DatasetRecord(json.loads(item)),
            frozenset(json.loads(roles)),
            bool(locked),
            fetched_at,
            self.may_change,
        )


def _columns(record: DatasetRecord) -> tuple[str, str, int, int, str]:
    return (
        record.id,
        record.display_name,
        record.created_timestamp,
        record.updated_timestamp,
        json.dumps(record.raw),
    )
