"""What is told of a review whose answer was lost: what the record says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio

from provenafs.catalog.reviewing import Reviewing
from provenafs.provena.datastore import DataStore
from provenafs.provena.errors import Locked, Unauthorised, Unavailable
from provenafs.provena.records import DatasetRecord, FetchedDataset

HANDLE = "10378.1/1"
EARLIER = {"action": "REQUEST", "timestamp": 1, "approver": "carol", "notes": "please"}
REJECTED = {"action": "REJECT", "timestamp": 2, "approver": "carol", "notes": "good"}
APPROVED = {"action": "APPROVE", "timestamp": 3, "approver": "carol", "notes": "good"}


class FailingStore:
    """A data store whose reviews fail, with what its record tells at each look."""

    def __init__(self, failure: Exception, *looks: Any, locked: bool = False) -> None:
        self.failure = failure
        self.sent = 0
        self._looks = list(looks)
        self._locked = locked

    async def fetch(self, handle: str) -> FetchedDataset:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, Exception):
            raise look
        item = {"id": handle, "release_history": look}
        return FetchedDataset(DatasetRecord(item), frozenset(), self._locked)

    async def request_release(self, *_: str) -> str:
        self.sent += 1
        raise self.failure

    async def decide_release(self, *_: str, approve: bool) -> str:
        self.sent += 1
        raise self.failure


def reviewing(store: FailingStore) -> Reviewing:
    return Reviewing(cast(DataStore, store))


FAILED = Unavailable("it failed with HTTP status 500", 500)
NO_ANSWER = Unavailable("it did not answer", None)


async def test_a_request_that_was_stored_is_told_as_such() -> None:
    store = FailingStore(FAILED, [EARLIER], [EARLIER, EARLIER])
    words = await reviewing(store).request(HANDLE, "carol", "please")
    assert words.startswith(f"The review of {HANDLE} is requested; the service failed afterwards")
    assert store.sent == 1


@pytest.mark.parametrize("after", [[EARLIER], [EARLIER, EARLIER | {"approver": "dan"}]])
async def test_a_request_that_was_not_stored_is_told_as_such(after: Sequence[Any]) -> None:
    store = FailingStore(FAILED, [EARLIER], after)
    with pytest.raises(Unavailable, match=r"the review of .* was not requested"):
        await reviewing(store).request(HANDLE, "carol", "please")
    assert store.sent == 1


async def test_without_an_answer_it_is_looked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FailingStore(NO_ANSWER, [], [], [], [EARLIER])
    assert "is requested" in await reviewing(store).request(HANDLE, "carol", "please")
    assert trio.current_time() == 4.0


async def test_what_cannot_be_looked_at_is_not_known() -> None:
    store = FailingStore(FAILED, [], Unavailable("it is down", 503))
    with pytest.raises(Unavailable, match="is not known: see 'provenafs review list"):
        await reviewing(store).request(HANDLE, "carol", "please")


async def test_a_decision_that_was_stored_is_told_as_such() -> None:
    store = FailingStore(FAILED, [EARLIER], [EARLIER, APPROVED])
    assert "is approved; the" in await reviewing(store).decide(HANDLE, "good", approve=True)


async def test_a_decision_of_another_kind_is_none() -> None:
    store = FailingStore(FAILED, [EARLIER], [EARLIER, REJECTED])
    with pytest.raises(Unavailable, match=r"the release of .* was not approved"):
        await reviewing(store).decide(HANDLE, "good", approve=True)


async def test_a_locked_dataset_is_told_as_such() -> None:
    store = FailingStore(FAILED, [EARLIER], locked=True)
    with pytest.raises(Locked, match=f"{HANDLE} is locked: unlock it first"):
        await reviewing(store).decide(HANDLE, "good", approve=True)


async def test_a_refusal_is_not_looked_into() -> None:
    store = FailingStore(Unauthorised("no"), [EARLIER])
    with pytest.raises(Unauthorised, match="no"):
        await reviewing(store).decide(HANDLE, "good", approve=True)
