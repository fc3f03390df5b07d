"""Writable files in memory."""

from __future__ import annotations

import errno
import time

from provenafs.errors import FSError
from provenafs.tree.memory import DocumentMemory


class Text:
    """Bytes that can be written anywhere, up to `limit` of them."""

    def __init__(self, memory: DocumentMemory, limit: int, content: bytes = b"") -> None:
        """ENOSPC if the memory of documents is used up."""
        self.limit = limit
        self.mtime_ns = time.time_ns()
        self._memory = memory
        self._held = memory.text()
        self._held.resize(len(content))
        self._content = bytearray(content)

    def __len__(self) -> int:
        return len(self._content)

    def __bytes__(self) -> bytes:
        return bytes(self._content)

    def copy(self) -> Text:
        """Another text of the same bytes; ENOSPC."""
        return Text(self._memory, self.limit, bytes(self))

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        return bytes(self._content[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, with zeros before it where nothing was; EFBIG, ENOSPC."""
        end = offset + len(data)
        self._reserve(max(end, len(self)))
        if offset > len(self._content):
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset:end] = data
        self.mtime_ns = time.time_ns()

    def truncate(self, size: int) -> None:
        """Cut to `size` bytes, or extend with zeros; EFBIG, ENOSPC."""
        self._reserve(size)
        del self._content[size:]
        self._content.extend(bytes(size - len(self._content)))
        self.mtime_ns = time.time_ns()

    def _reserve(self, size: int) -> None:
        if size > self.limit:
            raise FSError(errno.EFBIG, f"this file is limited to {self.limit // 1024**2} MiB")
        self._held.resize(size)
