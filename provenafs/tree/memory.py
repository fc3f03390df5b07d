"""The memory budget of documents: written texts, and documents rendered for readers.

All of a mount share one budget. A document holds its part until its last owner drops it: a
name, an open handle, or the record of a mint.
"""

from __future__ import annotations

import errno

from provenafs.errors import FSError

_MOST = 256 * 1024**2  # bytes
_MOST_WRITTEN = 192 * 1024**2  # bytes; the rest is left for what is read
_MOST_TEXTS = 1024


class DocumentMemory:
    """The budget of one mount."""

    def __init__(self, most: int = _MOST, most_written: int = _MOST_WRITTEN) -> None:
        """Both in bytes: of all documents together, and of all when a text grows."""
        self._most = most
        self._most_written = most_written
        self._used = 0
        self._texts = 0

    @property
    def used(self) -> int:
        """How many bytes are held."""
        return self._used

    def read(self, size: int) -> Held:
        """Hold `size` bytes for a reader; ENOSPC."""
        return Held(self, size, self._most)

    def text(self) -> Held:
        """Hold nothing yet, for a text that will grow; ENOSPC."""
        if self._texts >= _MOST_TEXTS:
            raise FSError(errno.ENOSPC, "too many files that are not stored")
        return _HeldText(self, 0, self._most_written)

    def change(self, amount: int, most: int) -> None:
        """Hold `amount` bytes more, or fewer; ENOSPC if there would be more than `most`."""
        if amount > 0 and self._used + amount > most:
            raise FSError(errno.ENOSPC, "too much in files that are not stored: remove some")
        self._used += amount

    def count(self, texts: int) -> None:
        """So many texts more, or fewer."""
        self._texts += texts


class Held:
    """The reservation of one document."""

    def __init__(self, memory: DocumentMemory, size: int, most: int) -> None:
        self._memory = memory
        self._most = most
        self._size = 0
        self.resize(size)

    def resize(self, size: int) -> None:
        """Hold `size` bytes from now on; ENOSPC."""
        self._memory.change(size - self._size, self._most)
        self._size = size

    def __del__(self) -> None:
        self._memory.change(-self._size, self._most)


class _HeldText(Held):
    def __init__(self, memory: DocumentMemory, size: int, most: int) -> None:
        super().__init__(memory, size, most)
        memory.count(1)

    def __del__(self) -> None:
        self._memory.count(-1)
        super().__del__()
