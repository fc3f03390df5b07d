"""The journal row of one staged file, and when each column is written.

    add          before the first byte is staged                    open
    reopen       before the first change since it was stored        open
    acknowledge  before a close is answered that stores later       closed
    fail         when a close or fsync fails: why, and what of      failed
    stored       after the object, with the next transaction        sent
    leave        the last use has ended, and it is not stored       failed, or open: incomplete
    moved        before a rename is carried out here                as it was
    removed      before the name goes, or when nothing is owed      none

A mount that takes the row over sends `closed` ones; all others wait for the user (`recovery`).
"""

from __future__ import annotations

from provenafs.content.journal import Journal
from provenafs.content.journal_schema import (
    JournalPart,
    Row,
    State,
    Statement,
    changed_row,
    removed_row,
)
from provenafs.content.mount_lock import UNOWNED
from provenafs.content.object_version import ObjectVersion
from provenafs.content.writing.attributes import Attributes


class JournalRow:
    """The one writer of a row. Unless said otherwise, FSError where the journal cannot be written.

    It counts the attempts to store the file: each has an id, which the object carries.
    """

    def __init__(self, journal: Journal, row: Row) -> None:
        self.id = row.id
        self._journal = journal
        self._attempts = int(row.write_id.rpartition("-")[2]) if "-" in row.write_id else 0

    # The ids of attempts

    @property
    def write_id(self) -> str:
        """The id of the latest attempt."""
        return f"{self.id}-{self._attempts}"

    @property
    def next_write_id(self) -> str:
        """The id of the next attempt."""
        return f"{self.id}-{self._attempts + 1}"

    def count_attempt(self) -> str:
        """Begin another attempt; returns its id."""
        self._attempts += 1
        return self.write_id

    def is_ours(self, write_id: str) -> bool:
        """Whether an attempt of this file has made an object."""
        return write_id.startswith(f"{self.id}-")

    # The state

    async def add(self, row: Row) -> None:
        """A file is about to be changed for the first time: write its row."""
        await self._journal.add(row)

    async def reopen(self, base: ObjectVersion) -> None:
        """The file, stored as `base`, is about to be changed."""
        await self._journal.update(
            self.id, state=State.OPEN, key=base.key, base_etag=base.etag, base_size=base.size,
            upload_id=None, parts=(),
        )  # fmt: skip

    async def acknowledge(self, key: str, size: int, given: Attributes, write_id: str) -> None:
        """A close is about to be answered: `size` bytes will go to `key`, with this id."""
        await self._journal.update(
            self.id, state=State.CLOSED, key=key, size=size,
            mtime_ns=given.mtime_ns, mode=given.mode, write_id=write_id,
        )  # fmt: skip

    async def fail(self, key: str, size: int, given: Attributes, reason: str) -> None:
        """A close or fsync is answered with an error: `size` bytes were to go to `key`."""
        await self._journal.update(
            self.id, state=State.FAILED, reason=reason, key=key, size=size,
            mtime_ns=given.mtime_ns, mode=given.mode, write_id=self.write_id,
        )  # fmt: skip

    def stored(self, version: ObjectVersion) -> None:
        """The bytes are this object: written with the next transaction, never refused."""
        self._journal.update_later(
            self.id, state=State.SENT, size=version.size, base_etag=version.etag, reason="",
            replaces=False,
        )  # fmt: skip

    async def leave(self, *, is_complete: bool) -> None:
        """Nobody uses the file any more: the user may send it, or a later mount."""
        state = State.FAILED if is_complete else State.OPEN
        await self._journal.update(self.id, owner=UNOWNED, state=state)

    # The upload

    async def upload_begun(self, upload_id: str) -> None:
        """Record an upload before its first part, so that it can be aborted after a crash."""
        await self._journal.update(self.id, upload_id=upload_id)

    async def parts_sent(
        self, upload_id: str | None, write_id: str, parts: tuple[JournalPart, ...]
    ) -> None:
        """These parts are about to be the only copy of their bytes."""
        await self._journal.update(self.id, upload_id=upload_id, write_id=write_id, parts=parts)

    # The name, and the end

    def moved(self, to: ObjectVersion, *, replaces: bool) -> Statement:
        """The file goes to another key; `replaces`: over the object of another file."""
        columns = {"replaces": True} if replaces else {}
        return changed_row(self.id, key=to.key, base_etag=to.etag, **columns)

    def removed(self) -> Statement:
        """The name goes."""
        return removed_row(self.id)

    def remove_later(self) -> None:
        """Nothing is pending: removed with the next transaction, never refused."""
        self._journal.remove_later(self.id)
