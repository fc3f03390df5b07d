"""State shared by all handles of one object version: fetched ranges and waits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from provenafs.content.reading.fetched_range import FetchedRange
from provenafs.content.reading.held_ranges import HeldRanges
from provenafs.content.reading.object_source import ObjectSource
from provenafs.content.reading.runs import Range
from provenafs.content.reading.waiting import WaitingTime

_KEPT = 1000  # object versions


class ObjectReads:
    """How one object version is read, through all handles."""

    def __init__(
        self, waited_for: Callable[[ObjectSource, ObjectReads], None] = lambda source, reads: None
    ) -> None:
        """`waited_for` is called after each wait for bytes that nothing had fetched ahead."""
        self.shared = HeldRanges()  # fetched for any reader
        self.under_way: set[FetchedRange] = set()  # of single handles
        self.waited = WaitingTime(trio.current_time)
        self.read_at = trio.current_time()
        self.position = 0  # where it was read last
        self.is_fetched_whole = False  # just now
        self.not_before = 0.0  # when it may be fetched whole again
        self.noted: Callable[[int, int], None] | None = None  # called with each range that is read
        self._waited_for = waited_for

    def note(self, start: int, end: int) -> None:
        """Somebody reads [start, end), not all of it from the cache."""
        self.position = start
        self.read_at = trio.current_time()
        if self.noted is not None:
            self.noted(start, end)

    @contextmanager
    def waiting(self, source: ObjectSource) -> Iterator[None]:
        """While a reader waits for what nothing had fetched ahead."""
        with self.waited.one_more():
            yield
        self._waited_for(source, self)

    def missing(self, wanted: Range) -> list[Range]:
        """The parts of a range that nobody fetches just now, for the handles or for one of them."""
        missing = self.shared.missing(wanted)
        for block in self.under_way:
            missing = [part for each in missing for part in _without(each, block)]
        return missing

    def drop_read(self) -> None:
        """Give up what was fetched for all and has been read."""
        if self.shared:
            self.shared.drop(lambda block: block.unread <= 0)


class ReadObjects:
    """The object versions read lately, by their ids in the cache."""

    def __init__(self, waited_for: Callable[[ObjectSource, ObjectReads], None]) -> None:
        self._waited_for = waited_for
        self._objects: OrderedDict[bytes, ObjectReads] = OrderedDict()

    def of(self, source: ObjectSource) -> ObjectReads:
        """The shared state of the handles of an object version."""
        reads = self._objects.get(source.name)
        if reads is None:
            reads = self._objects[source.name] = ObjectReads(self._waited_for)
            if len(self._objects) > _KEPT:
                self._objects.popitem(last=False)
        self._objects.move_to_end(source.name)
        return reads


def _without(part: Range, block: FetchedRange) -> list[Range]:
    start, end = part
    if block.end <= start or end <= block.start:
        return [part]
    pieces = [(start, block.start), (block.end, end)]
    return [(low, high) for low, high in pieces if low < high]
