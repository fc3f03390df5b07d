"""Release reviews: each request is sent once; if the response is lost, the record is checked.

The service stores the new state before it notifies the other side by e-mail: a failure may
come after all is done.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from provenafs.catalog.lost_answers import pauses_before_looks
from provenafs.provena.datastore import DataStore
from provenafs.provena.errors import Locked, ProvenaError, Unavailable
from provenafs.provena.records import FetchedDataset, ReleaseEvent

_UNTOLD = "the service failed afterwards, so that the other side may not have been notified"


class Reviewing:
    """Releases on behalf of one user."""

    def __init__(self, datastore: DataStore) -> None:
        self._datastore = datastore

    async def request(self, handle: str, reviewer: str, notes: str) -> str:
        """Ask a reviewer to approve the release; returns the outcome as a sentence.

        Raises Locked and any other ProvenaError; Unavailable says whether it was requested.
        """
        before = await self._datastore.fetch(handle)

        def is_this(event: ReleaseEvent) -> bool:
            return (event.action, event.approver, event.notes) == ("REQUEST", reviewer, notes)

        try:
            return await self._datastore.request_release(handle, reviewer, notes)
        except Unavailable as error:
            await self._look(before, error, is_this, f"the review of {handle}", "requested")
            return f"The review of {handle} is requested; {_UNTOLD}."

    async def decide(self, handle: str, notes: str, *, approve: bool) -> str:
        """Approve or reject a release under this user's review; returns the outcome in words.

        Raises Locked and any other ProvenaError; Unavailable says whether it was decided.
        """
        before = await self._datastore.fetch(handle)
        action, word = ("APPROVE", "approved") if approve else ("REJECT", "rejected")

        def is_this(event: ReleaseEvent) -> bool:
            return (event.action, event.notes) == (action, notes)

        try:
            return await self._datastore.decide_release(handle, notes, approve=approve)
        except Unavailable as error:
            await self._look(before, error, is_this, f"the release of {handle}", word)
            return f"The release of {handle} is {word}; {_UNTOLD}."

    async def _look(
        self,
        before: FetchedDataset,
        error: Unavailable,
        is_this: Callable[[ReleaseEvent], bool],
        what: str,
        done: str,
    ) -> None:
        """Return if the record shows the step by now; else raise an error with what is known."""
        handle, known = before.record.id, len(before.record.release_history)
        try:
            for pause in pauses_before_looks(error):
                await trio.sleep(pause)
                found = await self._datastore.fetch(handle)
                if any(map(is_this, found.record.release_history[known:])):
                    return
        except ProvenaError:
            raise Unavailable(
                f"{error}, and whether {what} was {done} is not known:"
                f" see 'provenafs review list {handle}'",
                error.status,
            ) from None
        if found.locked:
            # The registry refuses it, which the data store wraps into a failure of its own.
            raise Locked(f"{handle} is locked: unlock it first") from None
        raise Unavailable(f"{error}: {what} was not {done}", error.status) from None
