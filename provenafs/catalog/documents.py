"""The documents made from a dataset's record. Same record, same bytes."""

from __future__ import annotations

import json
from typing import Any

from provenafs.catalog.dataset import Dataset


def without_nulls(value: Any) -> Any:
    """A JSON value with null members dropped at every level, as the service stores it."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def metadata_json(collection_format: dict[str, Any]) -> bytes:
    """A CollectionFormat, byte for byte as the service writes its own metadata.json object."""
    return json.dumps(without_nulls(collection_format), indent=2).encode()


def record_json(dataset: Dataset) -> bytes:
    """The whole registry item with this user's roles and the lock."""
    document = {
        "item": dataset.record.raw,
        "roles": sorted(dataset.roles),
        "locked": dataset.locked,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # Half a surrogate pair is valid JSON, but no text.
    return text.encode("utf-8", "replace") + b"\n"
