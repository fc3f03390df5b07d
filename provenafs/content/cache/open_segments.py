"""Segments with open files: bytes in the page cache are read without a thread."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from provenafs.content.cache.segment import SEGMENT, Segment

_MOST = 2048  # files
_SHARE = 8  # of the descriptors that this process may have, one in so many
_UNUSED_S = 30.0


class OpenSegment:
    """The file of a segment, closed with the last reference: a thread may still read from it."""

    __slots__ = ("_descriptor", "row", "used_at", "waits")

    def __init__(self, row: Segment, path: Path) -> None:
        """Open the file. Raises OSError."""
        self.row = row
        self.used_at = time.time()
        self.waits = 0  # reads at random that the page cache did not have
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def fileno(self) -> int:
        """The descriptor; it stays open while this object is referred to."""
        return self._descriptor

    def fill_now(self, into: bytearray | memoryview, offset: int) -> int:
        """Read into a buffer what the page cache has from `offset` on; returns how many bytes."""
        try:
            return os.preadv(self._descriptor, (into,), offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN; EOPNOTSUPP of a file system that always waits
            return 0

    def is_evicted(self) -> bool:
        """Whether the file was deleted: its bytes take room that is not counted any more."""
        return os.fstat(self._descriptor).st_nlink == 0


class OpenSegments:
    """Those opened last, by object and number.

    Each step is one of a dictionary: worker threads take them as well.
    """

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = _MOST if soft == resource.RLIM_INFINITY else min(_MOST, soft // _SHARE)
        self._open: dict[tuple[bytes, int], OpenSegment] = {}

    def get(self, object_id: bytes, number: int) -> OpenSegment | None:
        """A segment of an object, if it is open."""
        return self._open.get((object_id, number))

    def find(self, object_id: bytes, start: int, end: int) -> list[OpenSegment]:
        """The segments that hold [start, end) of an object, if all are open; else none."""
        found = []
        for number in range(start // SEGMENT, (end - 1) // SEGMENT + 1):
            segment = self._open.get((object_id, number))
            if segment is None:
                return []
            found.append(segment)
        return found

    def open(self, object_id: bytes, row: Segment, path: Path) -> OpenSegment:
        """Open a segment, until nobody reads from it for a while or too many others are.

        Raises OSError.
        """
        try:
            segment = OpenSegment(row, path)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self.close_all()  # nothing here is worth a descriptor that others lack
            segment = OpenSegment(row, path)
        self._open.pop((object_id, row.number), None)
        self._open[object_id, row.number] = segment
        if len(self._open) > self._most:
            self._open.pop(next(iter(list(self._open))), None)
        return segment

    def close(self, ids: Iterable[int]) -> None:
        """Close segments by id."""
        closed = set(ids)
        self._close(lambda segment: segment.row.id in closed)

    def close_unused(self) -> None:
        """Close those that nobody has read from lately, or that another mount has evicted."""
        since = time.time() - _UNUSED_S
        self._close(lambda segment: segment.used_at < since or segment.is_evicted())

    def close_all(self) -> None:
        """Close all of them."""
        self._open.clear()

    def _close(self, is_over: Callable[[OpenSegment], bool]) -> None:
        for name, segment in list(self._open.items()):
            if is_over(segment):
                self._open.pop(name, None)
