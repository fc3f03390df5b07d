"""`mint/`: a NAME.json that is saved here becomes a dataset, once."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from functools import partial

from provenafs.catalog.saving import MAX_TEXT, fingerprint, parse
from provenafs.content.index import ROOT_INO, Change, Entry, Kind
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import Document, Link, is_write, text_xattrs
from provenafs.tree.draft import Draft, DraftHandle
from provenafs.tree.last_error import LastErrorFile
from provenafs.tree.mint_texts import Minted
from provenafs.tree.names import MAX_NAME_BYTES, directory_name
from provenafs.tree.node import Attributes, BytesHandle, Handle, Listing, Node
from provenafs.tree.scratch import ScratchNode, scratch_names

NAME = "mint"
_FIXED = ("last-error.txt", "schema.json", "template.json")
_DOCUMENT = r"[^.#~][^~]*\.json"
_IS_DOCUMENT = re.compile(_DOCUMENT, re.DOTALL)
_IS_SCRATCH = scratch_names(_DOCUMENT)


class MintDirectory(VirtualDirectory):
    """The template, the schema, what is being written, and links to what was minted."""

    mode = stat.S_IFDIR | 0o755

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(context, ino)
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
            return Link(entry.ino, target, self.context.started, self.timeout)
        return ScratchNode(self._texts.scratch, entry.ino)

    async def lookup(self, name: str) -> Node:
        if name not in _FIXED and name not in self._links() and self._file(name) is None:
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> Listing:
        children = self.context.index.children(self.ino)
        own = [child.name for child in children if self._texts.has(child.ino)]
        return await self.snapshot([*_FIXED, *own, *self._links()])

    async def create(self, name: str, flags: int) -> tuple[Node, Handle]:
        found = name in _FIXED or name in self._links() or self._file(name) is not None
        if found and flags & os.O_EXCL:
            raise FSError(errno.EEXIST)
        if not found:
            self._make(name)
        node = self.child_called(name)
        return node, await node.open(flags)

    async def unlink(self, name: str) -> None:
        entry = self._file(name)
        if entry is None or entry.ino in self._texts.minted:
            raise FSError(errno.EPERM, f"{name} cannot be removed: datasets are not")
        self._remove(entry)

    async def rename(self, name: str, target: Node, new_name: str, *, replace: bool) -> None:
        if not isinstance(target, MintDirectory):
            raise FSError(errno.EXDEV)
        entry, replaced = self._file(name), self._file(new_name)
        for file in (entry, replaced):
            if file is not None and file.ino in self._texts.minted:
                raise self._texts.minted[file.ino].refusal()
        if entry is None or new_name in (*_FIXED, *self._links()):
            raise FSError(errno.EPERM, f"{name} cannot be renamed to {new_name}")
        if replaced is not None and not replace:
            raise FSError(errno.EEXIST)
        if name == new_name:
            return
        text = self._text(entry)
        if replaced is not None:
            self._remove(replaced)
        # Under its own inode, as editors that look at it afterwards expect.
        self._texts.drop(entry.ino)
        self.context.index.move(entry.ino, self.ino, new_name)
        self._put(new_name, entry.ino, text)
        draft = self._texts.drafts.get(entry.ino)
        if draft is not None:
            await draft.save()

    # Files

    def _file(self, name: str) -> Entry | None:
        entry = self.context.index.child(self.ino, name)
        return entry if entry is not None and self._texts.has(entry.ino) else None

    def _text(self, entry: Entry) -> bytes:
        draft = self._texts.drafts.get(entry.ino)
        scratch = self._texts.scratch.get(entry.ino)
        return bytes(draft.text) if draft is not None else bytes(scratch or b"")

    def _make(self, name: str) -> None:
        if not _IS_DOCUMENT.fullmatch(name) and not _IS_SCRATCH.fullmatch(name):
            raise FSError(errno.EPERM, f"{name} cannot be made here: save metadata as NAME.json")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise FSError(errno.ENAMETOOLONG)
        self._put(name, self.context.allot(self.ino, name).ino, b"")

    def _put(self, name: str, ino: int, text: bytes) -> None:
        """Begin a file of this name with a text that is not saved yet."""
        if not _IS_DOCUMENT.fullmatch(name):
            self._texts.scratch.put(ino, text)
            return
        draft = self._texts.drafts[ino] = Draft(b"", MAX_TEXT, partial(self._save, ino))
        if text:
            draft.write(0, text)

    def _remove(self, entry: Entry) -> None:
        self._texts.drop(entry.ino)
        self.context.index.remove(entry.ino)

    # Minting

    async def _save(self, ino: int, text: bytes) -> None:
        """Mint a text, unless it is the template, which is there to be changed."""
        minted = self._texts.minted.get(ino)
        if minted is not None:
            raise minted.refusal()
        document = parse(text)
        if fingerprint(document) == fingerprint(await self.context.minting.template()):
            return
        handle = await self.context.minting.mint(text)
        self._texts.minted[ino] = Minted(handle, text, time.time())
        self._texts.drafts.pop(ino, None)
        self.context.content.changed(list(self._changes(ino, handle)))

    def _changes(self, ino: int, handle: str) -> list[Change]:
        """What the kernel has to forget: attributes, and that there were no such names."""
        index = self.context.index
        path = index.path(ino)
        changes = [_change(self.context, ROOT_INO, directory_name(handle))]
        if path:
            name = path[-1].name
            changes.append(Change(self.ino, name, ino))
            changes.append(_change(self.context, self.ino, name.removesuffix(".json")))
        return changes

    def _links(self) -> dict[str, str]:
        """The names of minted files, without their ending, and the directories they link to."""
        links = {}
        for ino, minted in self._texts.minted.items():
            path = self.context.index.path(ino)
            if path:
                name = path[-1].name.removesuffix(".json")
                links[name] = f"../{directory_name(minted.handle)}"
        return links


def _change(context: Context, parent: int, name: str) -> Change:
    return Change(parent, name, context.index.allot(parent, name, Kind.VIRTUAL).ino)


class _DraftFile(Node):
    """A text that is not minted yet."""

    def __init__(self, ino: int, draft: Draft) -> None:
        super().__init__(ino)
        self._draft = draft

    async def attributes(self) -> Attributes:
        text = self._draft.text
        return Attributes(self.ino, stat.S_IFREG | 0o644, len(text), text.mtime)

    async def set_attributes(
        self, *, size: int | None = None, mtime: float | None = None, handle: Handle | None = None
    ) -> None:
        if size is not None:
            self._draft.truncate(size)
            if handle is None:
                await self._draft.save()

    async def open(self, flags: int) -> Handle:
        if not is_write(flags):
            return BytesHandle(bytes(self._draft.text), direct_io=True)
        if flags & os.O_TRUNC:
            self._draft.truncate(0)
        return DraftHandle(self._draft, lambda: None)


class _MintedFile(Document):
    """The text that a dataset was minted from."""

    def __init__(self, ino: int, minted: Minted) -> None:
        super().__init__(ino)
        self._minted = minted

    async def content(self) -> bytes:
        return self._minted.text

    async def age(self) -> tuple[float, float]:
        return self._minted.mtime, 0.0

    async def xattrs(self) -> Mapping[str, bytes]:
        return text_xattrs({"handle": self._minted.handle})

    async def set_attributes(
        self, *, size: int | None = None, mtime: float | None = None, handle: Handle | None = None
    ) -> None:
        if size is not None:
            raise self._minted.refusal()

    async def open(self, flags: int) -> Handle:
        if is_write(flags):
            raise self._minted.refusal()
        return await super().open(flags)


class _Template(Document):
    """Metadata to begin with."""

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self._context = context

    async def content(self) -> bytes:
        return _json(await self._context.minting.template())

    async def age(self) -> tuple[float, float]:
        return self._context.started, 0.0


class _Schema(_Template):
    """What the service says that metadata look like."""

    async def content(self) -> bytes:
        return _json(await self._context.minting.schema())


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
