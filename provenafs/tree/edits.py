"""Metadata edits under way: drafts, reasons, and the versions they are based on."""

from __future__ import annotations

import errno
import logging
import math
from functools import partial

import trio

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.rejected import Rejected
from provenafs.catalog.saving import MAX_TEXT, Saved, Saving, fingerprint, parse
from provenafs.content.content import Content
from provenafs.errors import FSError
from provenafs.provena.errors import ProvenaError
from provenafs.provena.records import DatasetRecord
from provenafs.tree.draft import Draft, DraftHandle
from provenafs.tree.memory import DocumentMemory
from provenafs.tree.names import directory_name
from provenafs.tree.scratch import ScratchFiles
from provenafs.tree.text import Text

log = logging.getLogger(__name__)

# A program that removes metadata.json to replace it writes at once.
_REMOVED_FOR_S = 5.0
# A reason travels in the address of a request.
_LONGEST_REASON = 1000


class Edits:
    """The edits of one mount.

    A record is compared with what this mount last let somebody read of it: who writes a file need
    not be the process that has read it.
    """

    def __init__(
        self,
        catalog: Catalog,
        content: Content,
        saving: Saving,
        rejected: Rejected,
        memory: DocumentMemory,
        reason: str,
    ) -> None:
        """`reason` is given for a save that has none of its own."""
        self.rejected = rejected
        self.scratch = ScratchFiles(memory)
        self._memory = memory
        self._removed: dict[str, float] = {}  # until when, in trio's time
        self._catalog = catalog
        self._content = content
        self._saving = saving
        self._reason = reason
        self._reasons: dict[str, str] = {}
        self._read: dict[str, str] = {}
        self._drafts: dict[int, Draft] = {}

    # The version read, and the reason for the change

    def note_read(self, record: DatasetRecord) -> None:
        """Somebody was shown this state of a record."""
        self._read[record.id] = fingerprint(record.collection_format)

    def reason(self, handle: str) -> str | None:
        """The reason that was set for the next save."""
        return self._reasons.get(handle)

    def set_reason(self, handle: str, value: bytes) -> None:
        """Set the reason for the next save, which uses it up; EINVAL."""
        try:
            reason = value.decode().strip()
        except UnicodeDecodeError:
            raise FSError(errno.EINVAL, "a reason must be UTF-8") from None
        if not reason or len(reason) > _LONGEST_REASON:
            raise FSError(errno.EINVAL, f"a reason must have 1 to {_LONGEST_REASON} characters")
        self._reasons[handle] = reason

    # A removal before a replacement

    def remove(self, handle: str) -> None:
        """The name metadata.json is gone until it is written, or for some seconds."""
        self._removed[handle] = trio.current_time() + _REMOVED_FOR_S

    def restore(self, handle: str) -> None:
        """The name is there again."""
        self._removed.pop(handle, None)

    def is_removed(self, handle: str) -> bool:
        """Whether the name is gone now."""
        return trio.current_time() < self._removed.get(handle, -math.inf)

    # Drafts

    def draft(self, ino: int) -> Draft | None:
        """The text under way in an inode, if it has not been saved as it is."""
        draft = self._drafts.get(ino)
        return draft if draft is not None and draft.is_unsaved else None

    def open_draft(self, ino: int, handle: str, content: bytes) -> DraftHandle:
        """A handle that may write; unless a text is under way it begins with `content`. ENOSPC."""
        draft = self._drafts.get(ino)
        if draft is None:
            text = Text(self._memory, MAX_TEXT, content)
            draft = self._drafts[ino] = Draft(text, partial(self.save, handle))
        elif not draft.is_unsaved:
            draft.restart(Text(self._memory, MAX_TEXT, content))
        draft.handles += 1
        return DraftHandle(draft, partial(self._close_draft, ino))

    def _close_draft(self, ino: int) -> None:
        draft = self._drafts[ino]
        draft.handles -= 1
        if draft.handles == 0:
            del self._drafts[ino]

    # Saving

    async def save(self, handle: str, text: bytes) -> None:
        """Save a text as the metadata of a dataset; what is refused is kept. See Saving.save."""
        read = self._read.get(handle)
        if read is None:
            self.note_read((await self._catalog.dataset(handle)).record)
            read = self._read[handle]
        reason = self._reasons.get(handle, self._reason)
        try:
            saved = await self._saving.save(handle, text, read, reason)
        except (FSError, ProvenaError):
            await self.rejected.keep(handle, text)
            raise
        if saved is Saved.UNCHANGED:
            return
        self._reasons.pop(handle, None)
        self._read[handle] = fingerprint(parse(text))
        await self._show(handle, read)

    async def _show(self, handle: str, before: str) -> None:
        """Show the saved record; if the service cannot return it now, the save has not failed."""
        try:
            record = (await self._catalog.dataset(handle)).record
        except ProvenaError as error:
            log.warning("%s is not shown as it was saved yet: %s", handle, error)
            return
        if fingerprint(record.collection_format) != before:
            self.note_read(record)
        self._forget_files(record)

    def _forget_files(self, record: DatasetRecord) -> None:
        dataset, forget = directory_name(record.id), self._content.forget
        forget(dataset, "metadata.json")
        for name in ("record.json", "citation.cff", "ro-crate-metadata.json"):
            forget(dataset, ".provena", name)
        for entry in record.history[:1]:
            forget(dataset, "versions", "metadata", f"{entry.id}.json")
