"""Directory read-ahead: small files are fetched before they are opened, once a walk is noticed.

Of a walk only the opens are seen, and each tool opens in an order of its own. So a walk is
recognised by a set: three files of one directory read from within two seconds, in any order. The
other small files of the directory are then fetched in listing order, some ahead of the reader.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import trio

from provenafs.content.listing.index import Entry, Index, Kind
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.fetched_range import FetchedRange, Purpose
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.sweeper import Sweeper
from provenafs.guard import Background

LARGEST = 1024 * 1024  # bytes; larger files are left to the read-ahead of their own
MOST_AHEAD = 48  # files fetched and not yet opened, in one directory
_FIRST_AHEAD = 12
_BYTES_AHEAD = 24 * 1024 * 1024
_OPENS = 3
_WITHIN_S = 2.0
_IDLE_S = 8.0  # what nobody opened for so long is dropped
_MISSES_TO_JUMP = 3  # opens beyond what was fetched: the reader is there now
_MOST_MISSES = 64  # opens of files not fetched: the reader goes another way
_BATCH = 256
_LOOKED_AT = 64  # names at an open: each costs a look into the cache


class DirectoryPrefetch:
    """The directory read-ahead of one drive.

    `source` returns the source of an entry; None if its bytes are cached.
    """

    def __init__(
        self,
        index: Index,
        source: Callable[[Entry], ObjectSource | None],
        budget: ReadAheadBudget,
        nursery: Background,
    ) -> None:
        self._index = index
        self._source = source
        self._budget = budget
        self._nursery = nursery
        self._reads: deque[tuple[float, int, int]] = deque(maxlen=32)  # time, directory, file
        self._walks: dict[int, _Walk] = {}
        self._sweeper = Sweeper(self._drop_idle, nursery)

    def first_read(self, entry: Entry) -> FetchedRange | None:
        """Note that a file is read from; returns its bytes if they were fetched ahead."""
        now = trio.current_time()
        walk = self._walks.get(entry.parent)
        if walk is None:
            self._reads.append((now, entry.parent, entry.ino))
            walk = self._noticed(entry, now)
            if walk is None:
                return None
        block = walk.open(entry)
        walk.used_at = now
        self._budget.touch(self)
        if not walk.is_lost:
            self._fetch_ahead(walk)
        return block

    def shed(self) -> None:
        """Drop what was fetched and not opened."""
        for walk in self._walks.values():
            walk.drop()
        self._walks.clear()

    def _noticed(self, entry: Entry, now: float) -> _Walk | None:
        recent = {
            ino
            for at, parent, ino in self._reads
            if parent == entry.parent and now - at <= _WITHIN_S
        }
        if len(recent) < _OPENS and not self._goes_on(now):
            return None
        self._sweeper.wake()
        walk = self._walks[entry.parent] = _Walk(entry.parent, recent, now)
        return walk

    def _goes_on(self, now: float) -> bool:
        """Whether a walk has just come to the end of its directory: this is the next one."""
        return any(
            walk.is_at_end and now - walk.used_at <= _WITHIN_S for walk in self._walks.values()
        )

    def _fetch_ahead(self, walk: _Walk) -> None:
        for _ in range(_LOOKED_AT):
            entry = walk.next(self._index) if walk.has_room else None
            if entry is None:
                return
            source = self._source(entry)
            if source is None:
                continue
            if not self._budget.try_take(entry.size, self):
                walk.put_back(entry)
                return
            block = FetchedRange(self._budget, 0, entry.size, Purpose.AHEAD)
            walk.fetched[entry.ino] = (entry, block)
            walk.bytes += entry.size
            self._nursery.start_soon(block.fetch, source)

    def _drop_idle(self) -> bool:
        """Drop walks that have ended; whether there are others."""
        now = trio.current_time()
        for directory, walk in list(self._walks.items()):
            if now - walk.used_at > _IDLE_S:
                walk.drop()
                del self._walks[directory]
        if not self._walks:
            self._budget.forget(self)
        return bool(self._walks)


class _Walk:
    """Somebody reads the files of one directory."""

    def __init__(self, directory: int, opened: set[int], now: float) -> None:
        self.used_at = now
        self.fetched: OrderedDict[int, tuple[Entry, FetchedRange]] = OrderedDict()
        self.bytes = 0
        self._directory = directory
        self._opened = opened
        self._coming: deque[Entry] = deque()
        self._cursor = min(opened) - 1
        self._hits = 0
        self._misses = 0
        self.is_at_end = False

    @property
    def is_lost(self) -> bool:
        """Whether the reader opens others than were fetched."""
        return self._misses > _MOST_MISSES

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched before something is opened."""
        most = min(MOST_AHEAD, _FIRST_AHEAD + 2 * self._hits)
        return len(self.fetched) < most and self.bytes < _BYTES_AHEAD

    def open(self, entry: Entry) -> FetchedRange | None:
        """Take the bytes of a file that is opened."""
        if entry.ino in self._opened:
            return None
        self._opened.add(entry.ino)
        found = self.fetched.pop(entry.ino, None)
        if found is None:
            self._missed(entry)
            return None
        fetched, block = found
        self.bytes -= fetched.size
        self._hits += 1
        self._misses = 0
        if fetched.etag != entry.etag or (block.done.is_set() and block.data is None):
            block.drop()
            return None
        return block

    def _missed(self, entry: Entry) -> None:
        self._misses += 1
        if entry.ino > self._cursor and self._misses >= _MISSES_TO_JUMP:
            self.drop()
            self._coming.clear()
            self._cursor = entry.ino

    def next(self, index: Index) -> Entry | None:
        """The next file to fetch, in listing order; None if it is not among the nearest."""
        for _ in range(_LOOKED_AT):
            if not self._coming:
                self._coming.extend(index.children(self._directory, self._cursor, _BATCH))
            if not self._coming:
                self.is_at_end = True
                return None
            entry = self._coming.popleft()
            self._cursor = entry.ino
            if entry.ino not in self._opened and _is_small(entry):
                return entry
        return None

    def put_back(self, entry: Entry) -> None:
        """There is no memory for it now."""
        self._coming.appendleft(entry)

    def drop(self) -> None:
        """Give up what was fetched."""
        for _, block in self.fetched.values():
            block.drop()
        self.fetched.clear()
        self.bytes = 0


def _is_small(entry: Entry) -> bool:
    return entry.kind is Kind.OBJECT and not entry.staged and 0 < entry.size <= LARGEST
