"""A directory of editable documents and the temporary files of editors."""

from __future__ import annotations

import errno
import os

from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.names import MAX_NAME_BYTES
from provenafs.tree.node import Handle, Node
from provenafs.tree.scratch import ScratchFiles


class EditableDirectory(VirtualDirectory):
    """How names are made and moved while documents are edited.

    A call that fails has changed nothing: what may be refused is asked first, and the names change
    after it without a checkpoint. The kernel sends one change of names of a directory at a time.
    """

    def __init__(self, context: Context, ino: int, scratch: ScratchFiles) -> None:
        super().__init__(context, ino)
        self.scratch = scratch

    # Names of the directory

    def has(self, name: str) -> bool:
        """Whether there is such a name now."""
        raise NotImplementedError

    def refusal(self, name: str) -> str | None:
        """Why no file of this name can be made here; None if one can."""
        raise NotImplementedError

    def may_move(self, name: str, new_name: str) -> bool:
        """Whether the file `name` may get this other name."""
        raise NotImplementedError

    async def make(self, name: str, flags: int) -> tuple[Node, Handle]:
        """Make and open a file of a name that is free and may be made."""
        raise NotImplementedError

    async def move(self, name: str, new_name: str) -> None:
        """Give a file another name, in the place of what has that one."""
        raise NotImplementedError

    # Common behaviour

    async def lookup(self, name: str) -> Node:
        if not self.has(name):
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def create(self, name: str, flags: int, mode: int = 0o644) -> tuple[Node, Handle]:
        if not self.has(name):
            refusal = self.refusal(name)
            if refusal is not None:
                raise FSError(errno.EPERM, refusal)
            if len(name.encode()) > MAX_NAME_BYTES:
                raise FSError(errno.ENAMETOOLONG)
            return await self.make(name, flags)
        if flags & os.O_EXCL:
            raise FSError(errno.EEXIST)
        node = self.child_called(name)
        return node, await node.open(flags)

    async def rename(self, name: str, target: Node, new_name: str, *, replace: bool) -> None:
        if not isinstance(target, EditableDirectory) or target.ino != self.ino:
            raise FSError(errno.EXDEV)
        if not self.may_move(name, new_name):
            raise FSError(errno.EPERM, f"{name} cannot be renamed to {new_name}")
        if not replace and self.has(new_name):
            raise FSError(errno.EEXIST)
        if name != new_name:
            await self.move(name, new_name)

    def make_scratch(self, name: str) -> None:
        """Make an empty scratch file; ENOSPC."""
        text = self.scratch.text()
        self.scratch.put(self.context.get_or_create(self.ino, name).ino, text)

    def scratch_entry(self, name: str) -> Entry | None:
        """The scratch file of this name, if there is one."""
        entry = self.context.index.child(self.ino, name)
        return entry if entry is not None and self.scratch.get(entry.ino) is not None else None
