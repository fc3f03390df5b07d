"""A dataset's record as the registry stores it, read without refusing what the models refuse.

The models of provena-interfaces normalise addresses and reject values that the service itself
accepts and stores; a record must be shown, and sent back, exactly as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


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
        location = item.get("s3")
        if not isinstance(location, dict):
            raise ValueError("the item has no S3 location")
        for holder, name, kind in (
            (item, "id", str),
            (item, "display_name", str),
            (item, "owner_username", str),
            (item, "created_timestamp", int),
            (item, "updated_timestamp", int),
            (location, "bucket_name", str),
            (location, "path", str),
        ):
            if not isinstance(holder.get(name), kind):
                raise ValueError(f"the item has no valid {name}")
        return cls(item)

    @property
    def id(self) -> str:
        """The handle."""
        return str(self.raw["id"])

    @property
    def display_name(self) -> str:
        """Any non-empty text: not unique, and no file name."""
        return str(self.raw["display_name"])

    @property
    def owner_username(self) -> str:
        """Who minted it."""
        return str(self.raw["owner_username"])

    @property
    def created_timestamp(self) -> int:
        """Seconds since the epoch."""
        return int(self.raw["created_timestamp"])

    @property
    def updated_timestamp(self) -> int:
        """Seconds since the epoch."""
        return int(self.raw["updated_timestamp"])

    @property
    def s3(self) -> S3Location:
        """Where the files are. After a failed versioning it may be the predecessor's folder."""
        location = self.raw["s3"]
        return S3Location(location["bucket_name"], location["path"])

    @property
    def version(self) -> int:
        """The place in the version chain, from 1."""
        return int(self._versioning.get("version") or 1)

    @property
    def previous_version(self) -> str | None:
        """The handle of the version before."""
        return self._versioning.get("previous_version")

    @property
    def next_version(self) -> str | None:
        """The handle of the version after."""
        return self._versioning.get("next_version")

    @property
    def version_reason(self) -> str | None:
        """Why this version was made."""
        return self._versioning.get("reason")

    @property
    def release_status(self) -> str:
        """NOT_RELEASED, PENDING or RELEASED."""
        return str(self.raw.get("release_status") or "NOT_RELEASED")

    @property
    def release_approver(self) -> str | None:
        """The reviewer's Person handle."""
        return self.raw.get("release_approver")

    @property
    def release_timestamp(self) -> int | None:
        """When the release state last changed, in seconds since the epoch."""
        return self.raw.get("release_timestamp")

    @property
    def release_history(self) -> tuple[ReleaseEvent, ...]:
        """What happened in review, oldest first."""
        return tuple(
            ReleaseEvent(
                action=str(event.get("action")),
                timestamp=int(event.get("timestamp") or 0),
                approver=str(event.get("approver") or ""),
                requester=event.get("requester"),
                notes=str(event.get("notes") or ""),
            )
            for event in _objects(self.raw.get("release_history"))
        )

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The states of the record, newest first."""
        return tuple(
            HistoryEntry(
                id=entry["id"],
                timestamp=int(entry.get("timestamp") or 0),
                reason=str(entry.get("reason") or ""),
                username=str(entry.get("username") or ""),
                collection_format=_object(_object(entry.get("item")).get("collection_format")),
            )
            for entry in _objects(self.raw.get("history"))
            if isinstance(entry.get("id"), int)
        )

    @property
    def collection_format(self) -> dict[str, Any]:
        """The metadata document, as stored."""
        return _object(self.raw.get("collection_format"))

    @property
    def reposited(self) -> bool:
        """Whether the files are kept here; false for a dataset hosted elsewhere."""
        information = _object(self.collection_format.get("dataset_info"))
        return _object(information.get("access_info")).get("reposited") is not False

    @property
    def has_own_folder(self) -> bool:
        """Whether the S3 location is the one that belongs to this handle."""
        sanitised = self.id.replace(".", "-").replace("/", "-").strip()
        return self.s3.path == f"datasets/{sanitised}/"

    @property
    def _versioning(self) -> dict[str, Any]:
        return _object(self.raw.get("versioning_info"))


@dataclass(frozen=True, slots=True)
class FetchedDataset:
    """A record with what this user may do to it, and whether it is locked."""

    record: DatasetRecord
    roles: frozenset[str]
    locked: bool


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
