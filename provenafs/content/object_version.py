"""One version of an object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """The version of a key at one moment; `etag` None where there is no object. Size in bytes."""

    key: str
    etag: str | None
    size: int = 0
