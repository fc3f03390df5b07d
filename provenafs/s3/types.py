"""Values that S3 operations take and return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

# In bytes, as S3 documents them: of one object, and of what one request copies.
MAX_OBJECT = 5 * 1024**4
COPY_LIMIT = 5 * 1024**3


class CredentialScope(Enum):
    """The scope of credentials; the data store issues read and write ones separately."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary keys for one dataset. Their repr shows no secret."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Credentials(expires_at={self.expires_at.isoformat()})"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as LIST or HEAD returns it: size in bytes, times in nanoseconds since the epoch.

    `storage_class` None is the standard one.
    """

    key: str
    size: int
    etag: str
    modified_ns: int
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """From which byte on an object is read: the version `etag`, which has `size` bytes."""

    bucket: str
    key: str
    etag: str
    size: int
    start: int


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part the server has acknowledged; `crc32` in base64, where the server computes it."""

    number: int
    etag: str
    crc32: str | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of ListObjectsV2: objects and common prefixes, each in UTF-8 byte order.

    `left_out` has the reason for each invalid entry; the others are as good as ever.
    """

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...]
    next_token: str | None
    left_out: tuple[str, ...] = ()


# Called for every request that needs keys. `rejected` names the credentials that S3 has just
# refused as expired or invalid, so that a fresh pair is issued; None takes cached credentials.
CredentialSource = Callable[[CredentialScope, Credentials | None], Awaitable[Credentials]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -(2**63), 2**63 - 1


def nanoseconds(moment: datetime) -> int:
    """A moment in nanoseconds since the epoch, exactly, as far as 64 bits go: from 1677 to 2262.

    Some servers without a time return the year 1.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    # Of whole numbers throughout; a division by a timedelta takes three times as long.
    seconds = since.days * 86400 + since.seconds
    return max(_FIRST, min(seconds * 10**9 + since.microseconds * 1000, _LAST))
