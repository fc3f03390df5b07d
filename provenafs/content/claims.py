"""Claims of operations on names of a dataset.

A claim is made before anything is decided by a name, and held until what was decided is done. Of
two claims that exclude each other the later waits: so what is made, opened for writing or removed
below a directory that is being renamed finds it under its new name. Keys are worked out anew after
a wait.

A task holds one claim at a time, and takes locks of files only after it: no two wait in turn. What
an earlier mount has left holds its names as well, until recovery is done with it.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from provenafs.content.listing.index import Entry, Index
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.lib.progress import Progress


class Name(NamedTuple):
    """A name in a directory, as it is asked for."""

    directory: Entry
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a directory, and the key it stands for as long as it is claimed.

    The key of a directory is its prefix without the final slash.
    """

    volume: Volume
    directory: Entry
    name: str
    key: str


@dataclass(eq=False, slots=True)
class Claim:
    """Keys claimed by an operation; `is_sole`: exclusively, with all keys below.

    `why` is given where that may take for ever: then others wait no longer than without progress.
    """

    dataset: str
    keys: Sequence[str]
    is_sole: bool
    why: str = ""
    ended: trio.Event = field(default_factory=trio.Event)

    def excludes(self, other: Claim) -> bool:
        """Whether the two cannot be held at the same time."""
        return self.dataset == other.dataset and (self._covers(other) or other._covers(self))

    def _covers(self, other: Claim) -> bool:
        return self.is_sole and any(
            key == mine or key.startswith(f"{mine}/") for mine in self.keys for key in other.keys
        )


class Claims:
    """The claims of a mount, in the order they were made."""

    def __init__(self, index: Index, progress: Progress) -> None:
        """`progress` gives up the waits for what may take for ever."""
        self._index = index
        self._progress = progress
        self._claims: dict[Claim, None] = {}
        self._sole = 0

    @asynccontextmanager
    async def use(self, volume: Volume, directory: Entry, name: str) -> AsyncIterator[Place]:
        """Make or open `name`, beside others. ESTALE if the directory is gone."""
        places = self._places(volume, [Name(directory, name)])
        async with self._claimed(volume, places, is_sole=False) as (place,):
            yield place

    @asynccontextmanager
    async def use_file(self, volume: Volume, ino: int) -> AsyncIterator[None]:
        """Change a file, beside others; one whose name is gone is nobody's concern."""

        def find() -> list[Place]:
            entry = self._index.get(ino)
            directory = None if entry is None else self._index.get(entry.parent)
            return [_place(volume, directory, entry.name)] if entry and directory else []

        async with self._claimed(volume, find, is_sole=False):
            yield

    @asynccontextmanager
    async def change(self, volume: Volume, *names: Name) -> AsyncIterator[Sequence[Place]]:
        """Remove or rename, while nobody is at work there or below. ESTALE as `use`."""
        async with self._claimed(volume, self._places(volume, names), is_sole=True) as places:
            yield places

    def reserve(self, dataset: str, keys: Sequence[str], why: str) -> Claim:
        """Claim keys before anybody else can, without a wait; `why`: what others wait for."""
        return self._add(Claim(dataset, keys, True, why))

    def end(self, claim: Claim) -> None:
        """Let others at it."""
        if claim in self._claims:
            del self._claims[claim]
            self._sole -= claim.is_sole
            claim.ended.set()

    def _places(self, volume: Volume, names: Sequence[Name]) -> Callable[[], list[Place]]:
        def find() -> list[Place]:
            return [_place(volume, self._current(entry), name) for entry, name in names]

        return find

    def _current(self, directory: Entry) -> Entry:
        current = self._index.get(directory.ino)
        if current is None:
            raise FSError(errno.ESTALE, f"the directory {directory.name} is gone")
        return current

    @asynccontextmanager
    async def _claimed(
        self, volume: Volume, find: Callable[[], list[Place]], *, is_sole: bool
    ) -> AsyncIterator[Sequence[Place]]:
        while True:
            places = find()
            keys = [place.key for place in places]
            claim = self._add(Claim(volume.dataset, keys, is_sole))
            try:
                if await self._has_waited(claim):
                    places = find()
                if [place.key for place in places] == keys:
                    yield places
                    return
            finally:
                self.end(claim)

    def _add(self, claim: Claim) -> Claim:
        self._claims[claim] = None
        self._sole += claim.is_sole
        return claim

    async def _has_waited(self, claim: Claim) -> bool:
        """Wait for the turn of a claim; whether that took any time."""
        has_waited = False
        while (earlier := self._obstacle(claim)) is not None:
            has_waited = True
            if not earlier.why:
                await earlier.ended.wait()  # which has deadlines of its own
                continue
            what = f"{claim.keys[0]} has to wait for {earlier.why}"
            await self._progress.bound(earlier.ended.wait, what)
        return has_waited

    def _obstacle(self, claim: Claim) -> Claim | None:
        if not self._sole:
            return None  # the usual case costs nothing
        for earlier in self._claims:
            if earlier is claim:
                return None
            if claim.excludes(earlier):
                return earlier
        return None


def _place(volume: Volume, directory: Entry, name: str) -> Place:
    return Place(volume, directory, name, f"{volume.drive.key(directory).rstrip('/')}/{name}")
