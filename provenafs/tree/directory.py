"""Generated directories and their children."""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence

from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.node import Attributes, DirectoryHandle, Node, Snapshot

_FIXED_TIMEOUT_S = 3600.0


class VirtualDirectory(Node):
    """A generated directory."""

    mode = stat.S_IFDIR | 0o555
    timeout = _FIXED_TIMEOUT_S

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self.context = context

    async def attributes(self) -> Attributes:
        return Attributes(self.ino, self.mode, 0, self.context.started_ns, self.timeout)

    def child(self, entry: Entry) -> Node:
        """The node of an entry in this directory."""
        raise FSError(errno.ESTALE)

    def child_called(self, name: str) -> Node:
        """The node of a name that is known to be in this directory."""
        return self.child(self.context.get_or_create(self.ino, name))

    async def entries(self, names: Sequence[str]) -> list[tuple[str, Attributes]]:
        """The children of these names with their attributes."""
        return [(name, await self.child_called(name).attributes()) for name in names]

    async def snapshot(self, names: Sequence[str]) -> DirectoryHandle:
        """A listing of children by name, in this order."""
        return Snapshot(await self.entries(names))
