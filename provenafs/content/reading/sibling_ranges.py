"""Larger files of a folder that are read alike: the next ones have those ranges ready.

Small files are fetched whole by `directory_prefetch`. Here three files that were read at the same
ranges make a pattern; with each further one that is opened, what the pattern expects of it and of
the next eight in listing order is fetched at once, so that eight files wait one round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import trio

from provenafs.content.listing.index import Entry, Index, Kind
from provenafs.content.reading.alike import AlikeReads, is_similar
from provenafs.content.reading.budget import ReadAheadBudget
from provenafs.content.reading.directory_prefetch import LARGEST as SMALL
from provenafs.content.reading.fetched_range import FetchedRange, Purpose
from provenafs.content.reading.object_reads import ObjectReads
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.runs import Range
from provenafs.content.reading.sweeper import Sweeper
from provenafs.guard import Background

MOST_AHEAD = 8  # files
_LOOKED_AT = 64  # entries, for the next files
_PIECE = 2 * 1024 * 1024  # bytes, so that a file that is read whole comes in parallel
_SHARE = 4  # a quarter of the memory for read-ahead
_FOLDERS = 32
_IDLE_S = 8.0  # what nobody read for so long is dropped, and the pattern was wrong
_KEPT = 256  # files of a folder of which it is known what was fetched

Opened = tuple[ObjectSource, ObjectReads]


class SiblingRanges:
    """The files of one drive that are read alike."""

    def __init__(
        self,
        index: Index,
        opened: Callable[[Entry], Opened | None],
        budget: ReadAheadBudget,
        nursery: Background,
    ) -> None:
        """`opened` makes the source of an entry and what its handles share; None if it is gone."""
        self._index = index
        self._opened = opened
        self._budget = budget
        self._nursery = nursery
        self._folders: OrderedDict[int, _Folder] = OrderedDict()
        self._sweeper = Sweeper(self._drop_idle, nursery)

    def open(self, entry: Entry, reads: ObjectReads) -> None:
        """A file is opened: learn how it is read, and fetch what is expected of it and others."""
        if entry.kind is not Kind.OBJECT or entry.staged or entry.size <= SMALL:
            return
        folder = self._folder(entry.parent)
        reads.noted = lambda start, end: folder.note(entry, start, end)
        folder.unopened.pop(entry.ino, None)
        if not folder.alike.expected(entry.size):
            return
        self._fetch(folder, entry)
        folder.unopened.pop(entry.ino, None)
        for following in islice(self._following(entry), MOST_AHEAD):
            if len(folder.unopened) >= MOST_AHEAD or not self._fetch(folder, following):
                return

    def shed(self) -> None:
        """Drop what was fetched and not read."""
        for folder in self._folders.values():
            folder.drop_ahead()

    def _folder(self, ino: int) -> _Folder:
        folder = self._folders.get(ino)
        if folder is None:
            folder = self._folders[ino] = _Folder()
            if len(self._folders) > _FOLDERS:
                self._folders.popitem(last=False)[1].drop_ahead()
        self._folders.move_to_end(ino)
        return folder

    def _following(self, entry: Entry) -> Iterator[Entry]:
        """The files after one that are like it."""
        suffix = PurePosixPath(entry.name).suffix
        for each in self._index.children(entry.parent, entry.ino, _LOOKED_AT):
            is_like = each.kind is Kind.OBJECT and not each.staged and each.size > SMALL
            if is_like and each.name.endswith(suffix) and is_similar(each.size, entry.size):
                yield each

    def _fetch(self, folder: _Folder, entry: Entry) -> bool:
        """Fetch what is expected of a file; False if there is no room for more."""
        ranges = folder.not_fetched(entry)
        opened = self._opened(entry) if ranges else None
        if opened is None:
            return True
        source, reads = opened
        missing = [
            part
            for wanted in ranges
            for piece in _pieces(wanted)
            for absent in source.absent(*piece)
            for part in reads.missing(absent)
        ]
        if not all(self._start(folder, entry, opened, part) for part in missing):
            return False
        folder.note_fetched(entry, ranges)
        return True

    def _start(self, folder: _Folder, entry: Entry, opened: Opened, wanted: Range) -> bool:
        source, reads = opened
        size = wanted[1] - wanted[0]
        is_room = folder.make_room(size, self._budget.limit // _SHARE)
        if not is_room or not self._budget.try_take(size, self):
            return False
        block = FetchedRange(self._budget, *wanted, Purpose.AHEAD)
        reads.shared.add(block)
        folder.unopened[entry.ino] = trio.current_time()
        folder.ahead.append(_Ahead(trio.current_time(), reads, block))
        self._budget.touch(self)
        self._nursery.start_soon(_fetched, source, reads, block)
        self._sweeper.wake()
        return True

    def _drop_idle(self) -> bool:
        """Drop what was fetched long ago; whether there is more."""
        for folder in self._folders.values():
            folder.sweep()
        is_more = any(folder.ahead or folder.unopened for folder in self._folders.values())
        if not is_more:
            self._budget.forget(self)
        return is_more


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A range fetched ahead, since when, and for the readers of which object."""

    since: float
    reads: ObjectReads
    block: FetchedRange

    @property
    def size(self) -> int:
        return self.block.end - self.block.start

    @property
    def was_read_from(self) -> bool:
        return self.block.unread < self.size

    def drop(self) -> None:
        self.reads.shared.forget(self.block)
        self.block.drop()


class _Folder:
    """How the files of one folder are read, and what was fetched of them for that reason."""

    def __init__(self) -> None:
        self.alike = AlikeReads()
        self.unopened: dict[int, float] = {}  # files fetched ahead, and since when
        self.ahead: list[_Ahead] = []
        self._fetched: OrderedDict[int, list[Range]] = OrderedDict()  # by file

    def note(self, entry: Entry, start: int, end: int) -> None:
        """[start, end) of a file is read."""
        self.alike.note(entry.ino, entry.size, start, end)

    def make_room(self, size: int, limit: int) -> bool:
        """Whether `size` bytes more are within `limit`, if need be without what was read from."""
        self.ahead = [each for each in self.ahead if each.block.unread > 0]
        held = sum(each.size for each in self.ahead)
        for each in [each for each in self.ahead if each.was_read_from]:
            if held + size <= limit:
                break
            each.drop()
            self.ahead.remove(each)
            held -= each.size
        return held + size <= limit

    def not_fetched(self, entry: Entry) -> list[Range]:
        """The expected ranges of a file that have not been fetched."""
        fetched = self._fetched.get(entry.ino, ())
        return [
            (start, end)
            for start, end in self.alike.expected(entry.size)
            if not any(low <= start and end <= high for low, high in fetched)
        ]

    def note_fetched(self, entry: Entry, ranges: Sequence[Range]) -> None:
        """Ranges are in the cache or on their way."""
        self._fetched.setdefault(entry.ino, []).extend(ranges)
        if len(self._fetched) > _KEPT:
            self._fetched.popitem(last=False)

    def sweep(self) -> None:
        """Drop what was fetched long ago; what nobody has read at all was a wrong guess."""
        until = trio.current_time() - _IDLE_S
        idle = [each for each in self.ahead if each.since < until]
        if any(since < until for since in self.unopened.values()):
            self.alike = AlikeReads()
            self.unopened.clear()
        self.ahead = [each for each in self.ahead if each.since >= until]
        for each in idle:
            each.drop()

    def drop_ahead(self) -> None:
        """Drop all that was fetched and not read."""
        for each in self.ahead:
            each.drop()
        self.ahead.clear()


def _pieces(wanted: Range) -> Iterator[Range]:
    start, end = wanted
    for at in range(start, end, _PIECE):
        yield at, min(at + _PIECE, end)


async def _fetched(source: ObjectSource, reads: ObjectReads, block: FetchedRange) -> None:
    try:
        await block.fetch(source)
    finally:
        if block.data is None:
            reads.shared.forget(block)
            block.drop()
