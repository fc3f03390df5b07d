"""One dataset as last fetched, and what its state permits this user to do."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from provenafs.errors import FSError
from provenafs.provena.client import WRITE_ROLE
from provenafs.provena.records import DatasetRecord

_READ_DATA = frozenset({"dataset-data-read", "dataset-data-write", "admin"})
_WRITE_DATA = frozenset({"dataset-data-write", "admin"})
_WRITE_METADATA = frozenset({"metadata-write", "admin"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A record with this user's roles and the lock, as of `fetched_at` (seconds since the epoch).

    Roles are never expanded: each action accepts any one of a set of roles (contract of the
    service, item roles). Whoever has one also needs the realm's role to change anything:
    `may_change`.
    """

    record: DatasetRecord
    roles: frozenset[str]
    locked: bool
    fetched_at: float
    may_change: bool = True

    @property
    def handle(self) -> str:
        """The dataset's handle, such as 10378.1/1451860."""
        return self.record.id

    @property
    def may_read_data(self) -> bool:
        """Whether the service would issue read credentials."""
        return bool(self.roles & _READ_DATA)

    @property
    def may_write_data(self) -> bool:
        """Whether the roles allow writing files, whatever the lock and the release state say."""
        return self.may_change and bool(self.roles & _WRITE_DATA)

    @property
    def may_write_metadata(self) -> bool:
        """Whether a metadata update would be accepted; release does not stop one, a lock does."""
        return self.metadata_refusal() is None

    @property
    def released_at(self) -> float | None:
        """Since when the files are released, in seconds since the epoch; None if they are not."""
        if self.record.release_status != "RELEASED" or self.record.release_timestamp is None:
            return None
        return float(self.record.release_timestamp)

    def read_refusal(self) -> FSError | None:
        """Why the files cannot be read, or None."""
        if self.may_read_data:
            return None
        return FSError(errno.EACCES, f"you have no data read role on {self.handle}")

    def metadata_refusal(self) -> FSError | None:
        """Why the metadata cannot be changed, or None; the release state does not matter."""
        if not self.roles & _WRITE_METADATA:
            return FSError(errno.EACCES, f"you have no metadata write role on {self.handle}")
        if not self.may_change:
            return self._realm_refusal()
        if self.locked:
            return FSError(errno.EACCES, f"{self.handle} is locked")
        return None

    def version_refusal(self) -> FSError | None:
        """Why no new version can be made, or None; neither a lock nor a release matters."""
        if "admin" not in self.roles:
            return FSError(
                errno.EACCES,
                f"you cannot make a version of {self.handle}: you have no admin role on it",
            )
        return None if self.may_change else self._realm_refusal()

    def write_refusal(self) -> FSError | None:
        """Why the files cannot be changed, or None: role and lock are EACCES, release is EROFS."""
        if not self.roles & _WRITE_DATA:
            return FSError(errno.EACCES, f"you have no data write role on {self.handle}")
        if not self.may_change:
            return self._realm_refusal()
        if self.locked:
            return FSError(errno.EACCES, f"{self.handle} is locked")
        if self.record.release_status == "PENDING":
            return FSError(errno.EROFS, f"{self.handle} is pending review")
        if self.record.release_status == "RELEASED":
            return FSError(errno.EROFS, f"{self.handle} is released")
        if not self.record.has_own_folder:
            return FSError(
                errno.EROFS,
                f"{self.handle} still points to another dataset's files ({self.record.s3.path}):"
                " its versioning was not completed, ask the data store's administrator",
            )
        return None

    def _realm_refusal(self) -> FSError:
        return FSError(
            errno.EACCES,
            f"{self.handle} cannot be changed by you: your user lacks the role {WRITE_ROLE} of the"
            " instance, which its administrators grant",
        )
