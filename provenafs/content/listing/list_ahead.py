"""Detects walks through many directories and lists ahead of them, a whole subtree at once."""

from __future__ import annotations

import bisect
import logging
from collections import deque

import trio

from provenafs.content.listing.listing import DeepListing, ListingScope
from provenafs.lib.signal import Signal

log = logging.getLogger(__name__)

_DIRECTORIES = 3
_WITHIN_S = 2.0
_PAGES_AHEAD = 16
# A walker that is no nearer after so many pages is overtaken with a LIST of its own.
_PAGES_WAITED = 2
_IDLE_S = 3.0


class WalkDetector:
    """Where a directory tree was listed lately; three steps onwards in key order are a walk."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, str]] = deque(maxlen=_DIRECTORIES)

    def step(self, prefix: str, now: float) -> str | None:
        """Note a listing; returns the directory through which a walk goes, if it is one."""
        if self._steps and self._steps[-1][1] >= prefix:
            self._steps.clear()
        self._steps.append((now, prefix))
        oldest, first = self._steps[0]
        if len(self._steps) < _DIRECTORIES or now - oldest > _WITHIN_S:
            return None
        self._steps.clear()
        return _common(first, prefix)


class LookupDetector:
    """In which directories names were looked up lately; three side by side are a walk.

    A program that knows its names lists nothing, and asks in any order: the chunks of a Zarr array.
    """

    def __init__(self) -> None:
        self._asked: deque[tuple[float, str]] = deque(maxlen=_DIRECTORIES)

    def step(self, prefix: str, now: float) -> str | None:
        """Note a directory; returns the one above three of them, if that is a walk."""
        # Its parents were on the way down.
        beside = [each for each in self._asked if not prefix.startswith(each[1])]
        self._asked = deque([*beside, (now, prefix)], _DIRECTORIES)
        oldest, through = self._asked[0]
        if len(self._asked) < _DIRECTORIES or now - oldest > _WITHIN_S:
            return None
        for _, other in self._asked:
            through = _common(through, other)
        self._asked.clear()
        return through


class ListAhead:
    """Lists ahead of walks through one dataset; at most one at a time."""

    def __init__(self, tree: ListingScope) -> None:
        self._tree = tree
        self._footsteps = WalkDetector()
        self._lookups = LookupDetector()
        self._walk: _Walk | None = None

    def passed(self, prefix: str) -> None:
        """A directory that was fresh anyway is read: a walk may have come here."""
        if self._walk is not None:
            self._walk.use(prefix)

    async def has_listed(self, prefix: str) -> bool:
        """Whether a walk has completed this directory, maybe after a short wait."""
        walk = self._walk
        if walk is None:
            through = self._footsteps.step(prefix, trio.current_time())
            if through is None:
                return False
            walk = self._begin(through, prefix)
        if not walk.listing.covers(prefix):
            return False
        waited = 0
        while waited < _PAGES_WAITED:
            walk.use(prefix)
            if walk.listing.has_passed(prefix) or walk.is_over:
                return walk.listing.has_passed(prefix)
            await walk.next_page()
            waited += not walk.listing.is_in(prefix)
        if self._walk is walk and not walk.listing.has_passed(prefix):
            self._begin(walk.listing.prefix, prefix)
        return walk.listing.has_passed(prefix)

    async def has_found(self, prefix: str) -> bool:
        """Whether a walk has completed a directory of which only a name is asked for."""
        walk = self._walk
        if walk is None:
            through = self._lookups.step(prefix, trio.current_time())
            if through is None or len(through) <= len(self._tree.prefix):
                return False
            walk = self._begin(through, through)
        if not walk.listing.covers(prefix):
            return False
        for _ in range(_PAGES_WAITED):
            walk.use(prefix)
            if walk.listing.has_passed(prefix) or walk.is_over:
                break
            await walk.next_page()
        return walk.listing.has_passed(prefix)

    def _begin(self, prefix: str, start: str) -> _Walk:
        if self._walk is not None:
            self._walk.end()
        walk = self._walk = _Walk(DeepListing(self._tree, prefix, start))
        self._tree.nursery.start_soon(self._run, walk)
        return walk

    async def _run(self, walk: _Walk) -> None:
        try:
            await walk.run()
        finally:
            if self._walk is walk:
                self._walk = None


class _Walk:
    """A deep listing and how far it is ahead of its reader."""

    def __init__(self, listing: DeepListing) -> None:
        self.listing = listing
        self.is_over = False
        self._scope = trio.CancelScope()
        self._last_keys: list[str] = []  # of each page
        self._used_page = 0
        self._used_at = trio.current_time()
        self._paged = Signal()
        self._used = Signal()

    def use(self, prefix: str) -> None:
        """The reader is at this directory."""
        if not self.listing.covers(prefix):
            return
        self._used_at = trio.current_time()
        self._used_page = max(self._used_page, bisect.bisect_left(self._last_keys, prefix))
        self._used.fire()

    async def next_page(self) -> None:
        """Wait for a page, or for the end."""
        await self._paged.wait()

    def end(self) -> None:
        """Give up."""
        self._scope.cancel()

    async def run(self) -> None:
        """List until nobody follows any more."""
        try:
            with self._scope:
                await self.listing.run(self._go_on)
        except Exception as error:  # the reader of the directory gets it in turn
            log.info("listing ahead below %s ended: %s", self.listing.prefix, error)
        finally:
            self.is_over = True
            self._paged.fire()

    async def _go_on(self) -> bool:
        self._last_keys.append(self.listing.last)
        self._paged.fire()
        while len(self._last_keys) - self._used_page > _PAGES_AHEAD:
            with trio.move_on_at(self._used_at + _IDLE_S) as scope:
                await self._used.wait()
            if scope.cancelled_caught:
                return False
        return trio.current_time() - self._used_at < _IDLE_S


def _common(one: str, other: str) -> str:
    """The deepest directory that both are in or are."""
    length = 0
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            break
        if a == "/":
            length = position + 1
    return one[:length]
