"""A pool of large buffers: clearing new pages takes a quarter of the time of a read."""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress

_WORTHWHILE = 1024 * 1024  # bytes; less is left to the allocator
_UNUSED_KEPT = 32 * 1024 * 1024  # bytes


class Buffers:
    """Page-aligned memory, used again once nobody looks at it any more. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Memory of `size` bytes with anything in it; in use for as long as a view of it exists.

        Only sizes that are powers of two come again often enough to be kept.
        """
        if size < _WORTHWHILE:
            return memoryview(bytearray(size))
        if size & (size - 1):
            return memoryview(_pages(size))
        with self._lock:
            view = self._kept_view(size)
            if view is None:
                self._kept.append(_pages(size))
                view = memoryview(self._kept[-1])
            self._drop_unused()
            return view

    def _kept_view(self, size: int) -> memoryview | None:
        for memory in self._kept:
            if len(memory) == size and _is_unused(memory):
                return memoryview(memory)
        return None

    def _drop_unused(self) -> None:
        unused = [memory for memory in self._kept if _is_unused(memory)]
        excess = sum(map(len, unused)) - _UNUSED_KEPT
        for memory in unused:  # the oldest first
            if excess <= 0:
                return
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
