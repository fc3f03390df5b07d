"""Version chains, followed from record to record; contradictions are logged."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import IntEnum

from provenafs.provena.errors import NotFound, Unauthorised
from provenafs.provena.records import DatasetRecord

log = logging.getLogger(__name__)

_WARNINGS_KEPT = 1024
_LONGEST = 1000  # versions either way: a chain that still goes on has no end


class _Direction(IntEnum):
    BACK = -1
    ON = 1


class Chains:
    """Walks from record to record; each fault is logged once."""

    def __init__(self, record: Callable[[str], Awaitable[DatasetRecord]]) -> None:
        """`record` gives the record of a handle."""
        self._record = record
        self._told: set[str] = set()

    async def through(self, handle: str) -> list[tuple[int, str]]:
        """The version chain through a dataset, as (number, handle), oldest first.

        A neighbour that this user cannot fetch, or that is gone, is named by its link and ends
        the walk. A fork, which parallel versionings can make, is shown by the branch that the
        dataset is on.
        """
        record = await self._record(handle)
        chain = {handle: record.version}
        self._check_folder(record)
        await self._walk(record, chain, _Direction.BACK)
        await self._walk(record, chain, _Direction.ON)
        return sorted((number, handle) for handle, number in chain.items())

    async def _walk(
        self, record: DatasetRecord, chain: dict[str, int], direction: _Direction
    ) -> None:
        for _ in range(_LONGEST):
            link = _link(record, direction)
            if link is None:
                return
            if link in chain:
                self._warn(f"the versions of {record.id} go in a circle: {link} comes again")
                return
            chain[link] = record.version + direction
            try:
                neighbour = await self._record(link)
            except NotFound as error:
                self._warn(f"{link}, a neighbour of {record.id} in its versions, is gone: {error}")
                return
            except Unauthorised:
                return
            self._check_link(record, neighbour, direction)
            record = neighbour
        self._warn(f"the versions of {record.id} do not end: no more than {_LONGEST} are shown")

    def _check_link(
        self, record: DatasetRecord, neighbour: DatasetRecord, direction: _Direction
    ) -> None:
        self._check_folder(neighbour)
        back = _link(neighbour, _Direction(-direction))
        if back != record.id:
            way, other = (
                ("next", "previous") if direction is _Direction.ON else ("previous", "next")
            )
            self._warn(
                f"{record.id} names {neighbour.id} as its {way} version, which names"
                f" {back or 'none'} as its {other} one: the versions fork"
            )

    def _check_folder(self, record: DatasetRecord) -> None:
        if not record.has_own_folder:
            self._warn(
                f"{record.id} was not completed when it was made as a version: it still points to"
                f" the files in {record.s3.path}"
            )

    def _warn(self, sentence: str) -> None:
        if sentence in self._told:
            return
        if len(self._told) >= _WARNINGS_KEPT:
            self._told.clear()
        self._told.add(sentence)
        log.warning("%s", sentence)


def _link(record: DatasetRecord, direction: _Direction) -> str | None:
    return record.next_version if direction is _Direction.ON else record.previous_version
