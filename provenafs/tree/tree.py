"""Maps inode numbers to nodes."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from provenafs.content.listing.index import ROOT_INO, Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.data import DataDirectory
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.node import BytesHandle, Handle, Node
from provenafs.tree.root import Root


@dataclass
class _Open:
    """An inode with open handles: it answers fstat after its entry is gone."""

    node: Node
    path: str
    handles: int = 0


class Tree:
    """The root, and every node below it by inode number."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.root = Root(context)
        self._open: dict[int, _Open] = {}

    def node(self, ino: int) -> Node:
        """The node with this inode number; ESTALE once its entry is gone and no handle is open."""
        if ino == ROOT_INO:
            return self.root
        path = self.context.index.path(ino)
        if not path:
            held = self._open.get(ino)
            if held is None:
                raise FSError(errno.ESTALE)
            held.node.is_linked = False
            return held.node
        return self._descend(path)

    def _descend(self, path: tuple[Entry, ...]) -> Node:
        node: Node = self.root
        for entry in path:
            if isinstance(node, DataDirectory):
                # All below `data` is decided by the entry alone.
                return node.child(path[-1])
            if not isinstance(node, VirtualDirectory):
                raise FSError(errno.ESTALE)
            node = node.child(entry)
        return node

    def path(self, ino: int) -> str:
        """Where an inode is, or was, in the mount, for lines of the log."""
        if ino == ROOT_INO:
            return "/"
        path = self.context.index.path(ino)
        if path:
            return "".join(f"/{entry.name}" for entry in path)
        held = self._open.get(ino)
        return "(removed)" if held is None else f"{held.path} (removed)"

    def hold(self, node: Node, handle: Handle | None = None) -> None:
        """A handle of this node was opened; ENOSPC if the memory of documents is used up."""
        if isinstance(handle, BytesHandle):
            handle.held = self.context.memory.read(len(handle))
        held = self._open.get(node.ino)
        if held is None:
            held = self._open[node.ino] = _Open(node, self.path(node.ino))
        held.handles += 1

    def let_go(self, ino: int) -> None:
        """A handle of this inode was released."""
        held = self._open[ino]
        held.handles -= 1
        if held.handles == 0:
            del self._open[ino]

    def record_error(self, ino: int, error: FSError) -> None:
        """Keep the message of a refusal for last-error.txt, if it was within a dataset."""
        path = self.context.index.path(ino)
        if path:
            self.context.record_error(path[0].name, error.message)
