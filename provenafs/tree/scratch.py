"""Scratch files of editors, in memory.

They are never stored: what is left of them at the end of the mount is gone.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from provenafs.errors import FSError
from provenafs.tree.memory import DocumentMemory
from provenafs.tree.node import Attributes, Handle, Node
from provenafs.tree.text import Text

# Names that say for themselves that they are of a moment. vim: 4913; sed -i: sedXXXXXX; perl -i:
# XXxxxxxx; gawk: gawk.XXXXXX; emacs: .#-emacs…; GLib: .goutputstream-XXXXXX; mktemp and Python:
# tmp.XXXXXXXXXX and tmpxxxxxxxx; people: tmp, new, x.tmp, x.new.
_OF_A_MOMENT = (
    r"4913|sed[A-Za-z0-9]{6}|XX[A-Za-z0-9]{6}|gawk\.[A-Za-z0-9]{6}|\.#-emacs\w+"
    r"|\.goutputstream-\w+|tmp[\w-]*|tmp\.\w+|temp|new|old|out|.+\.(?:tmp|temp|new|old|bak|orig)"
)
_LARGEST = 32 * 1024**2  # bytes


def scratch_names(document: str) -> re.Pattern[str]:
    """The names that are used for a moment beside documents of such names, a pattern.

    Also what has the document's name in its own, as backups (metadata.json~, .bak), vim's
    .metadata.json.swp, emacs' .#metadata.json and #metadata.json#, LibreOffice's
    .~lock.metadata.json#, and the names that VS Code, Kate, rsync and shells make.
    """
    beside = rf"(?!{document}$)[.#~]*(?:lock\.)?{document}.*"
    return re.compile(f"{_OF_A_MOMENT}|{beside}", re.DOTALL)


_BESIDE_METADATA = scratch_names(r"metadata\.json")


def is_scratch(name: str) -> bool:
    """Whether a name beside metadata.json is one that is used while that is edited.

    A text on its way to become metadata.json may have the name of any JSON text.
    """
    if name == "metadata.json":
        return False
    return name.endswith(".json") or _BESIDE_METADATA.fullmatch(name) is not None


class ScratchFiles:
    """The scratch files of one kind of directory by inode number."""

    def __init__(self, memory: DocumentMemory) -> None:
        self._memory = memory
        self._texts: dict[int, Text] = {}

    def get(self, ino: int) -> Text | None:
        """The text of a scratch file; None if the inode is none."""
        return self._texts.get(ino)

    def text(self, content: bytes = b"") -> Text:
        """A text for a scratch file; ENOSPC."""
        return Text(self._memory, _LARGEST, content)

    def put(self, ino: int, text: Text) -> None:
        """Make an inode a scratch file with this text."""
        self._texts[ino] = text

    def drop(self, ino: int) -> None:
        """Forget a scratch file, if it is one."""
        self._texts.pop(ino, None)


class ScratchNode(Node):
    """A scratch file; it outlives its name while it is open."""

    def __init__(self, files: ScratchFiles, ino: int) -> None:
        super().__init__(ino)
        text = files.get(ino)
        if text is None:
            raise FSError(errno.ESTALE)
        self._text = text

    async def attributes(self) -> Attributes:
        return Attributes(self.ino, stat.S_IFREG | 0o600, len(self._text), self._text.mtime_ns)

    async def set_attributes(
        self, *, size: int | None = None, mtime_ns: int | None = None, handle: Handle | None = None
    ) -> None:
        if size is not None:
            self._text.truncate(size)
        if mtime_ns is not None:
            self._text.mtime_ns = mtime_ns

    async def open(self, flags: int) -> Handle:
        if flags & os.O_TRUNC:
            self._text.truncate(0)
        return _ScratchHandle(self._text)


class _ScratchHandle(Handle):
    direct_io = True

    def __init__(self, text: Text) -> None:
        self._text = text

    async def read(self, offset: int, size: int) -> bytes:
        return self._text.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        self._text.write(offset, data)
        return len(data)
