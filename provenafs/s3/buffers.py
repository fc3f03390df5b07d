"""Memory for large bodies, used again: to clear new pages takes a quarter of the time of a read."""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress

_WORTHWHILE = 1024 * 1024  # bytes; less is left to the allocator
_KEPT = 64 * 1024 * 1024  # bytes


class Buffers:
    """Page-aligned memory, used again once nobody looks at it any more. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Memory of `size` bytes with anything in it; in use for as long as a view of it exists."""
        if size < _WORTHWHILE:
            return memoryview(bytearray(size))
        with self._lock:
            for memory in self._kept:
                if len(memory) == size and _is_unused(memory):
                    return memoryview(memory)
            memory = _pages(size)
            self._kept.append(memory)
            view = memoryview(memory)
            self._drop_unused(sum(map(len, self._kept)) - _KEPT)
            return view

    def _drop_unused(self, excess: int) -> None:
        """Give the oldest memory back that nobody looks at, about `excess` bytes."""
        for memory in list(self._kept):
            if excess <= 0:
                return
            if _is_unused(memory):
                self._kept.remove(memory)
                excess -= len(memory)


def _pages(size: int) -> mmap.mmap:
    """Page-aligned memory of `size` bytes, all zero, in huge pages where the kernel has them.

    A disk or the kernel takes megabytes in a few pieces then, not in hundreds: reading past the
    page cache takes a third of the time.
    """
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _is_unused(memory: mmap.mmap) -> bool:
    try:
        memory.resize(len(memory))  # does nothing, but is refused while there is a view
    except BufferError:
        return False
    return True
