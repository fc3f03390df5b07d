"""Files that editors make beside a document for a moment: they live in memory.

They are never stored: what is left of them at the end of the mount is gone.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from provenafs.errors import FSError
from provenafs.tree.node import Attributes, Handle, Node
from provenafs.tree.text import Text

# vim: 4913 and .metadata.json.swp; backups: metadata.json~ and .bak; sed -i: sedXXXXXX; emacs:
# .#metadata.json and #metadata.json#; GLib: .goutputstream-XXXXXX; VS Code, Kate, rsync and shells:
# metadata.json with something behind it.
_ANYWHERE = r"4913|sed[A-Za-z0-9]{6}|\.goutputstream-\w+|\.#-emacs\w+"
_LARGEST = 32 * 1024**2  # bytes
_MOST = 128 * 1024**2  # bytes of all together
_MOST_FILES = 256


def scratch_names(document: str) -> re.Pattern[str]:
    """The names that editors use for a moment beside documents of such names, a pattern."""
    return re.compile(f"{_ANYWHERE}|(?!{document}$)[.#~]*{document}.*", re.DOTALL)


_BESIDE_METADATA = scratch_names(r"metadata\.json")


def is_scratch(name: str) -> bool:
    """Whether a name beside metadata.json is one that editors use for a moment."""
    return _BESIDE_METADATA.fullmatch(name) is not None


class ScratchFiles:
    """The scratch files of a mount by inode number."""

    def __init__(self) -> None:
        self._texts: dict[int, Text] = {}

    def get(self, ino: int) -> Text | None:
        """The text of a scratch file; None if the inode is none."""
        return self._texts.get(ino)

    def put(self, ino: int, content: bytes = b"") -> None:
        """Make an inode a scratch file; ENOSPC."""
        if len(self._texts) >= _MOST_FILES:
            raise FSError(errno.ENOSPC, "too many files that are not stored")
        text = Text(_LARGEST)
        self._texts[ino] = text
        try:
            self.check_room(len(content))
        except FSError:
            del self._texts[ino]
            raise
        text.write(0, content)

    def drop(self, ino: int) -> None:
        """Forget a scratch file, if it is one."""
        self._texts.pop(ino, None)

    def check_room(self, amount: int) -> None:
        """ENOSPC if `amount` more bytes would be too many."""
        if sum(map(len, self._texts.values())) + amount > _MOST:
            raise FSError(errno.ENOSPC, "too much in files that are not stored")


class ScratchNode(Node):
    """A scratch file; it outlives its name while it is open."""

    def __init__(self, files: ScratchFiles, ino: int) -> None:
        super().__init__(ino)
        text = files.get(ino)
        if text is None:
            raise FSError(errno.ESTALE)
        self._files = files
        self._text = text

    async def attributes(self) -> Attributes:
        return Attributes(self.ino, stat.S_IFREG | 0o644, len(self._text), self._text.mtime)

    async def set_attributes(
        self, *, size: int | None = None, mtime: float | None = None, handle: Handle | None = None
    ) -> None:
        if size is not None:
            self._files.check_room(size - len(self._text))
            self._text.truncate(size)
        if mtime is not None:
            self._text.mtime = mtime

    async def open(self, flags: int) -> Handle:
        if flags & os.O_TRUNC:
            self._text.truncate(0)
        return _ScratchHandle(self._files, self._text)


class _ScratchHandle(Handle):
    direct_io = True

    def __init__(self, files: ScratchFiles, text: Text) -> None:
        self._files = files
        self._text = text

    async def read(self, offset: int, size: int) -> bytes:
        return self._text.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        self._files.check_room(max(0, offset + len(data) - len(self._text)))
        self._text.write(offset, data)
        return len(data)
