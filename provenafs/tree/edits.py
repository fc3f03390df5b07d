"""What the users of a mount are about to change in metadata: drafts, reasons, what was read."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.rejected import Rejected
from provenafs.catalog.saving import MAX_TEXT, Saved, Saving, fingerprint
from provenafs.content.content import Content
from provenafs.content.index import ROOT_INO, Change, Kind
from provenafs.errors import FSError
from provenafs.provena.errors import ProvenaError
from provenafs.provena.records import DatasetRecord
from provenafs.tree.draft import Draft, DraftHandle
from provenafs.tree.names import directory_name
from provenafs.tree.scratch import ScratchFiles

# A reason travels in the address of a request.
_LONGEST_REASON = 1000


class Edits:
    """The edits of one mount.

    A record is compared with what this mount last let somebody read of it: who writes a file need
    not be the process that has read it.
    """

    def __init__(
        self, catalog: Catalog, content: Content, saving: Saving, rejected: Rejected, reason: str
    ) -> None:
        """`reason` is given for a save that has none of its own."""
        self.rejected = rejected
        self.scratch = ScratchFiles()
        self._catalog = catalog
        self._content = content
        self._saving = saving
        self._reason = reason
        self._reasons: dict[str, str] = {}
        self._read: dict[str, str] = {}
        self._drafts: dict[int, Draft] = {}

    # What was read, and why it is changed

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
            raise FSError(errno.EINVAL, "a reason has to be UTF-8") from None
        if not reason or len(reason) > _LONGEST_REASON:
            raise FSError(errno.EINVAL, f"a reason has 1 to {_LONGEST_REASON} characters")
        self._reasons[handle] = reason

    # Drafts

    def draft(self, ino: int) -> Draft | None:
        """The text under way in an inode, if it has not been saved as it is."""
        draft = self._drafts.get(ino)
        return draft if draft is not None and draft.is_unsaved else None

    def open_draft(self, ino: int, handle: str, content: bytes) -> DraftHandle:
        """A handle that may write; unless a text is under way it begins with `content`."""
        draft = self._drafts.get(ino)
        if draft is None:
            draft = self._drafts[ino] = Draft(content, MAX_TEXT, partial(self.save, handle))
        elif not draft.is_unsaved:
            draft.restart(content)
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
        record = (await self._catalog.dataset(handle)).record
        self.note_read(record)
        self._content.changed(list(self._changes(record)))

    def _changes(self, record: DatasetRecord) -> Iterator[Change]:
        """What the kernel has to forget after a save."""
        dataset = (directory_name(record.id),)
        yield self._change(*dataset, "metadata.json")
        for name in ("record.json", "citation.cff", "ro-crate-metadata.json"):
            yield self._change(*dataset, ".provena", name)
        for entry in record.history[:1]:
            yield self._change(*dataset, "versions", "metadata", f"{entry.id}.json")

    def _change(self, *path: str) -> Change:
        parent, ino = 0, ROOT_INO
        for name in path:
            parent, ino = ino, self._content.index.allot(ino, name, Kind.VIRTUAL).ino
        return Change(parent, path[-1], ino)
