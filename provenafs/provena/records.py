"""A dataset's record as stored in the registry, parsed more leniently than by the models.

The models of provena-interfaces normalise addresses and reject values that the service itself
accepts and stores; a record must be shown, and sent back, exactly as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from provenafs.printable import printable
from provenafs.provena.handles import has_name
from provenafs.provena.reading import number, object_or_empty, text_or_none

LATEST_S = 253_402_300_799
"""The last second of the year 9999: a timestamp beyond is shown as this one."""

_EARLIEST_S = -62_135_596_800
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_LONGEST_KEY = 1024  # bytes
_HIGHEST_ID = 2**53


class S3Location(NamedTuple):
    """Where a dataset's files are; `path` ends in a slash."""

    bucket_name: str
    path: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One state of the record; `timestamp` in seconds since the epoch."""

    id: int
    timestamp: int
    reason: str
    username: str
    collection_format: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReleaseEvent:
    """One step of a release: action is REQUEST, APPROVE or REJECT."""

    action: str
    timestamp: int
    approver: str
    requester: str | None
    notes: str


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """One registry item. `raw` is the item's JSON, not to be changed."""

    raw: dict[str, Any]

    @classmethod
    def from_item(cls, item: object) -> DatasetRecord:
        """The record of an item of an answer.

        Raises ValueError if what nothing can be done without is missing.
        """
        if not isinstance(item, dict):
            raise ValueError("the item is not an object")
        handle = item.get("id")
        if not isinstance(handle, str):
            raise ValueError("the item has no valid id")
        if not has_name(handle):
            raise ValueError("the item's id cannot be a directory's name")
        for name in ("created_timestamp", "updated_timestamp"):
            if not isinstance(item.get(name), int):
                raise ValueError(f"{printable(handle)} has no valid {name}")
        location = object_or_empty(item.get("s3"))
        bucket, path = location.get("bucket_name"), location.get("path")
        if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{printable(handle)} has no valid bucket_name")
        if not isinstance(path, str) or not _is_folder(path):
            raise ValueError(f"{printable(handle)} has no valid path in its bucket")
        return cls(item)

    @property
    def id(self) -> str:
        """The handle."""
        return str(self.raw["id"])

    @property
    def display_name(self) -> str:
        """Any non-empty text: not unique, and no file name. The handle if there is none."""
        return text_or_none(self.raw.get("display_name")) or self.id

    @property
    def owner_username(self) -> str:
        """User name of the creator; '' if unknown."""
        return text_or_none(self.raw.get("owner_username")) or ""

    @property
    def created_timestamp(self) -> int:
        """Seconds since the epoch."""
        return _seconds(self.raw["created_timestamp"])

    @property
    def updated_timestamp(self) -> int:
        """Seconds since the epoch."""
        return _seconds(self.raw["updated_timestamp"])

    @property
    def s3(self) -> S3Location:
        """Where the files are. After a failed versioning it may be the predecessor's folder."""
        location = self.raw["s3"]
        return S3Location(location["bucket_name"], location["path"])

    @property
    def version(self) -> int:
        """The place in the version chain, from 1."""
        return int(number(self._versioning.get("version"), 1, 1, _HIGHEST_ID))

    @property
    def previous_version(self) -> str | None:
        """The handle of the version before."""
        return _handle(self._versioning.get("previous_version"))

    @property
    def next_version(self) -> str | None:
        """The handle of the version after."""
        return _handle(self._versioning.get("next_version"))

    @property
    def version_reason(self) -> str | None:
        """Why this version was made."""
        return text_or_none(self._versioning.get("reason"))

    @property
    def release_status(self) -> str:
        """NOT_RELEASED, PENDING or RELEASED."""
        return text_or_none(self.raw.get("release_status")) or "NOT_RELEASED"

    @property
    def release_approver(self) -> str | None:
        """The reviewer's Person handle."""
        return text_or_none(self.raw.get("release_approver"))

    @property
    def release_timestamp(self) -> int | None:
        """When the release state last changed, in seconds since the epoch."""
        timestamp = self.raw.get("release_timestamp")
        return _seconds(timestamp) if isinstance(timestamp, (int, float)) else None

    @property
    def release_history(self) -> tuple[ReleaseEvent, ...]:
        """The review history, oldest first."""
        return tuple(
            ReleaseEvent(
                action=text_or_none(event.get("action")) or "UNKNOWN",
                timestamp=_seconds(event.get("timestamp")),
                approver=text_or_none(event.get("approver")) or "",
                requester=text_or_none(event.get("requester")),
                notes=text_or_none(event.get("notes")) or "",
            )
            for event in _objects(self.raw.get("release_history"))
        )

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The states of the record, newest first; of two with one number the newer."""
        entries: dict[int, HistoryEntry] = {}
        for entry in _objects(self.raw.get("history")):
            state = entry.get("id")
            if type(state) is int and 0 <= state <= _HIGHEST_ID and state not in entries:
                entries[state] = HistoryEntry(
                    id=state,
                    timestamp=_seconds(entry.get("timestamp")),
                    reason=text_or_none(entry.get("reason")) or "",
                    username=text_or_none(entry.get("username")) or "",
                    collection_format=object_or_empty(
                        object_or_empty(entry.get("item")).get("collection_format")
                    ),
                )
        return tuple(entries.values())

    @property
    def collection_format(self) -> dict[str, Any]:
        """The metadata document, as stored."""
        return object_or_empty(self.raw.get("collection_format"))

    @property
    def reposited(self) -> bool:
        """Whether the files are kept here; false for a dataset hosted elsewhere."""
        return object_or_empty(self.dataset_info.get("access_info")).get("reposited") is not False

    @property
    def dataset_info(self) -> dict[str, Any]:
        """The part of the metadata document that is about the dataset."""
        return object_or_empty(self.collection_format.get("dataset_info"))

    @property
    def has_own_folder(self) -> bool:
        """Whether the S3 location is the one that belongs to this handle."""
        sanitised = self.id.replace(".", "-").replace("/", "-").strip()
        return self.s3.path == f"datasets/{sanitised}/"

    @property
    def _versioning(self) -> dict[str, Any]:
        return object_or_empty(self.raw.get("versioning_info"))


@dataclass(frozen=True, slots=True)
class FetchedDataset:
    """A record with what this user may do to it, and whether it is locked."""

    record: DatasetRecord
    roles: frozenset[str]
    locked: bool


def records_of(items: Iterable[object], left_out: Callable[[str], None]) -> Iterator[DatasetRecord]:
    """The records of a page; `left_out` is called with the reason for each row that is not one."""
    for item in items:
        try:
            record = DatasetRecord.from_item(item)
        except ValueError as error:
            left_out(str(error))
        else:
            yield record


def _seconds(value: object) -> int:
    """A timestamp within what a date can be; the epoch for what is none."""
    return int(number(value, 0, _EARLIEST_S, LATEST_S))


def _is_folder(path: str) -> bool:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return False
    return 1 < size <= _LONGEST_KEY and path.endswith("/") and not path.startswith("/")


def _handle(value: object) -> str | None:
    return value if isinstance(value, str) and has_name(value) else None


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
