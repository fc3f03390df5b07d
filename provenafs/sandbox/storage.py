"""The services' interface to the S3 server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from provenafs.sandbox.errors import SandboxError


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary keys as STS returns them; the secrets stay out of its repr."""

    access_key_id: str
    expiration: datetime
    secret_access_key: str
    session_token: str

    def __repr__(self) -> str:
        return f"Credentials(expiration={self.expiration.isoformat()})"


class StorageError(SandboxError):
    """The S3 or STS server refused or did not answer; its text holds no key."""


class ObjectStorage(Protocol):
    """One bucket of an S3 server and the STS beside it. Every method raises StorageError."""

    @property
    def bucket(self) -> str:
        """The name of the one bucket of the instance."""
        ...

    async def put(self, key: str, data: bytes, content_type: str | None = None) -> None:
        """Store an object whole, over whatever is there."""
        ...

    async def head(self, key: str) -> bool:
        """Whether an object of exactly this key exists."""
        ...

    async def exists_prefix(self, prefix: str) -> bool:
        """Whether any key begins with this prefix."""
        ...

    async def assume_role(
        self, policy: dict[str, Any], session_name: str, duration_s: int
    ) -> Credentials:
        """New credentials limited by the session policy, for `duration_s` seconds."""
        ...

    async def presigned_get_url(
        self, key: str, credentials: Credentials, expires_in_s: int, filename: str
    ) -> str:
        """A URL that downloads `key`, named `filename`, for `expires_in_s` seconds."""
        ...
