"""`mint/`: a NAME.json that is saved here becomes a dataset, once."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from provenafs.catalog.saving import MAX_TEXT, fingerprint, parse
from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.documents import Document, Link, is_write, text_xattrs
from provenafs.tree.draft import Draft, DraftHandle
from provenafs.tree.editable import EditableDirectory
from provenafs.tree.last_error import LastErrorFile
from provenafs.tree.mint_texts import Minted
from provenafs.tree.names import directory_name
from provenafs.tree.node import Attributes, BytesHandle, DirectoryHandle, Handle, Node
from provenafs.tree.scratch import ScratchNode, scratch_names
from provenafs.tree.text import Text

NAME = "mint"
_FIXED = ("last-error.txt", "schema.json", "template.json")
_DOCUMENT = r"[^.#~][^~]*\.json"
_IS_DOCUMENT = re.compile(_DOCUMENT, re.DOTALL)
_IS_SCRATCH = scratch_names(_DOCUMENT)


class MintDirectory(EditableDirectory):
    """The template, the schema, what is being written, and links to what was minted."""

    mode = stat.S_IFDIR | 0o700  # what is minted belongs to the user who has logged in

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(context, ino, context.mint_texts.scratch)
        self._texts = context.mint_texts

    def child(self, entry: Entry) -> Node:
        match entry.name:
            case "last-error.txt":
                return LastErrorFile(self.context, entry.ino, NAME)
            case "schema.json":
                return _Schema(self.context, entry.ino)
            case "template.json":
                return _Template(self.context, entry.ino)
        minted = self._texts.minted.get(entry.ino)
        if minted is not None:
            return _MintedFile(entry.ino, minted)
        draft = self._texts.drafts.get(entry.ino)
        if draft is not None:
            return _DraftFile(entry.ino, draft)
        target = self._links().get(entry.name)
        if target is not None:
            return Link(entry.ino, target, self.context.started_ns, self.timeout)
        return ScratchNode(self.scratch, entry.ino)

    async def listing(self) -> DirectoryHandle:
        children = self.context.index.children(self.ino)
        own = [child.name for child in children if self._texts.has(child.ino)]
        return await self.snapshot([*_FIXED, *own, *self._links()])

    def has(self, name: str) -> bool:
        return name in _FIXED or name in self._links() or self._file(name) is not None

    def refusal(self, name: str) -> str | None:
        if _IS_DOCUMENT.fullmatch(name) or _IS_SCRATCH.fullmatch(name):
            return None
        return f"{name} cannot be made here: save metadata as NAME.json"

    def may_move(self, name: str, new_name: str) -> bool:
        taken = new_name in (*_FIXED, *self._links())
        return self._file(name) is not None and not taken and self.refusal(new_name) is None

    async def make(self, name: str, flags: int) -> tuple[Node, Handle]:
        if _IS_DOCUMENT.fullmatch(name):
            text = Text(self.context.memory, MAX_TEXT)
            self._begin_draft(self.context.get_or_create(self.ino, name).ino, text)
        else:
            self.make_scratch(name)
        node = self.child_called(name)
        return node, await node.open(flags)

    async def unlink(self, name: str) -> None:
        entry = self._file(name)
        if entry is None or entry.ino in self._texts.minted:
            raise FSError(errno.EPERM, f"{name} is a dataset, which cannot be removed")
        self._texts.drop(entry.ino)
        self.context.index.remove(entry.ino)

    async def move(self, name: str, new_name: str) -> None:
        """A text renamed to a document's name is minted first."""
        entry, replaced = self._file(name), self._file(new_name)
        assert entry is not None
        files = [entry] if replaced is None else [entry, replaced]
        async with AsyncExitStack() as unsaved:
            for file in files:  # a close that mints one of them ends before, or finds it gone
                if file.ino in self._texts.drafts:
                    await unsaved.enter_async_context(self._texts.drafts[file.ino].lock)
            for file in files:
                if file.ino in self._texts.minted:
                    raise self._texts.minted[file.ino].refusal()
            text, minted = self._text(entry), None
            if _IS_DOCUMENT.fullmatch(new_name) and len(text):
                minted = await self._mint(bytes(text))
            if replaced is not None:
                self._texts.drop(replaced.ino)
            # Under its own inode, as editors that look at it afterwards expect.
            self.context.index.move(entry.ino, self.ino, new_name)
            self._texts.drop(entry.ino)
            if minted is not None:
                self._show(entry.ino, minted)
            elif _IS_DOCUMENT.fullmatch(new_name):
                self._begin_draft(entry.ino, text)
            else:
                self.scratch.put(entry.ino, text)

    # Files

    def _file(self, name: str) -> Entry | None:
        entry = self.context.index.child(self.ino, name)
        return entry if entry is not None and self._texts.has(entry.ino) else None

    def _text(self, entry: Entry) -> Text:
        draft = self._texts.drafts.get(entry.ino)
        text = self.scratch.get(entry.ino) if draft is None else draft.text
        assert text is not None
        return text

    def _begin_draft(self, ino: int, text: Text) -> None:
        self._texts.drafts[ino] = Draft(text, partial(self._save, ino))

    # Minting

    async def _save(self, ino: int, text: bytes) -> None:
        """Mint a text at a close, unless its file has been removed or replaced meanwhile."""
        known = self._texts.minted.get(ino)
        if known is not None and known.text != text:
            raise known.refusal()
        if known is not None or ino not in self._texts.drafts:
            return
        minted = await self._mint(text)
        if minted is not None:
            self._show(ino, minted)

    async def _mint(self, text: bytes) -> Minted | None:
        """Mint a text, unless it is the template, which is there to be changed."""
        document = parse(text)
        if fingerprint(document) == fingerprint(await self.context.minting.template()):
            return None
        held = self.context.memory.read(len(text))
        return Minted(await self.context.minting.mint(text), text, held, time.time_ns())

    def _show(self, ino: int, minted: Minted) -> None:
        """A file is a dataset now."""
        self._texts.minted[ino] = minted
        self._texts.drafts.pop(ino, None)
        self.context.content.forget(directory_name(minted.handle))
        path = self.context.index.path(ino)
        if path:
            name = path[-1].name
            self.context.content.forget(name, below=self.ino)
            self.context.content.forget(name.removesuffix(".json"), below=self.ino)

    def _links(self) -> dict[str, str]:
        """The names of minted files, without their ending, and the directories they link to."""
        links = {}
        for ino, minted in self._texts.minted.items():
            path = self.context.index.path(ino)
            if path:
                name = path[-1].name.removesuffix(".json")
                links[name] = f"../{directory_name(minted.handle)}"
        return links


class _DraftFile(Node):
    """A text that is not minted yet."""

    def __init__(self, ino: int, draft: Draft) -> None:
        super().__init__(ino)
        self._draft = draft

    async def attributes(self) -> Attributes:
        text = self._draft.text
        return Attributes(self.ino, stat.S_IFREG | 0o600, len(text), text.mtime_ns)

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        if size is not None:
            if handle is None:
                await self._draft.cut(size)
            else:
                self._draft.truncate(size)

    async def open(self, flags: int) -> Handle:
        if not is_write(flags):
            return BytesHandle(bytes(self._draft.text), direct_io=True)
        if flags & os.O_TRUNC:
            self._draft.truncate(0)
        return DraftHandle(self._draft, lambda: None)


class _MintedFile(Document):
    """The text that a dataset was minted from."""

    permissions = 0o400

    def __init__(self, ino: int, minted: Minted) -> None:
        super().__init__(ino)
        self._minted = minted

    async def content(self) -> bytes:
        return self._minted.text

    async def age(self) -> tuple[int, float]:
        return self._minted.mtime_ns, 0.0

    async def xattrs(self) -> Mapping[str, bytes]:
        return text_xattrs({"handle": self._minted.handle})

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        if size is not None:
            raise self._minted.refusal()

    async def open(self, flags: int) -> Handle:
        if is_write(flags):
            raise self._minted.refusal()
        return await super().open(flags)


class _Template(Document):
    """Metadata to begin with."""

    permissions = 0o400

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self._context = context

    async def content(self) -> bytes:
        return _json(await self._context.minting.template())

    async def age(self) -> tuple[int, float]:
        return self._context.started_ns, 0.0


class _Schema(_Template):
    """The service's JSON schema of metadata."""

    async def content(self) -> bytes:
        return _json(await self._context.minting.schema())


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
