"""`last-error.txt`: the message of the last refusal."""

from __future__ import annotations

from provenafs.printable import printable
from provenafs.tree.context import Context
from provenafs.tree.documents import LiveDocument


class LastErrorFile(LiveDocument):
    """The last refusal below one directory of the root; empty if there was none."""

    def __init__(self, context: Context, ino: int, directory: str) -> None:
        super().__init__(ino)
        self._context = context
        self._directory = directory

    async def content(self) -> bytes:
        message = self._context.last_errors.get(self._directory)
        return b"" if message is None else printable(message).encode() + b"\n"
