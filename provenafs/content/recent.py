"""The latest writes, still in memory: what is sent soon need not come back from the disk."""

from __future__ import annotations

from collections import deque
from itertools import count


class Recent:
    """The latest writes to all staged files, `limit` bytes of them at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._serials = count()
        self._oldest_first: dict[int, Tail] = {}

    def serial(self, tail: Tail) -> int:
        """The number of the newest write, which `tail` keeps."""
        serial = next(self._serials)
        self._oldest_first[serial] = tail
        return serial

    def grow(self, size: int) -> None:
        """Count the newest write, of `size` bytes, and forget the oldest above the limit."""
        self._size += size
        while self._size > self._limit:
            next(iter(self._oldest_first.values())).forget_oldest()

    def forget(self, serial: int, size: int) -> None:
        """A write is not kept any more."""
        del self._oldest_first[serial]
        self._size -= size


class Tail:
    """The end of one file, as far as it was written in sequence and not long ago."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._pieces: deque[tuple[int, int, bytes]] = deque()  # serial, offset, data
        self._end = 0

    def begin(self, offset: int) -> None:
        """A write at `offset` is about to begin."""
        if offset != self._end:
            self.clear()

    def add(self, offset: int, data: bytes) -> None:
        """`data` was written at `offset`."""
        self._end = offset + len(data)
        self._pieces.append((self._recent.serial(self), offset, data))
        self._recent.grow(len(data))

    def get(self, start: int, end: int) -> bytes | None:
        """The bytes of [start, end), or None if they are not all here."""
        if not self._pieces or start < self._pieces[0][1] or end > self._end:
            return None
        return b"".join(
            data[max(0, start - offset) : end - offset]
            for _, offset, data in self._pieces
            if offset < end and offset + len(data) > start
        )

    def forget_oldest(self) -> None:
        """Forget the first of the writes."""
        serial, _, data = self._pieces.popleft()
        self._recent.forget(serial, len(data))

    def clear(self) -> None:
        """Forget all."""
        while self._pieces:
            self.forget_oldest()
        self._end = 0
