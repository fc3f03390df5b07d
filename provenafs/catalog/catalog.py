"""The datasets this user may see: listed, looked up and searched, each no older than the TTL."""

from __future__ import annotations

import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence

import trio

from provenafs.catalog.chain import Chains
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.failures import as_file_errors
from provenafs.catalog.records import RecordStore, Summary
from provenafs.content.listing.database import Database
from provenafs.provena.client import Provena
from provenafs.provena.errors import (
    UNUSABLE,
    LoginRequired,
    NotFound,
    ProvenaError,
    Unauthorised,
    Unavailable,
)
from provenafs.provena.records import DatasetRecord
from provenafs.provena.search import SearchHit
from provenafs.s3.types import Credentials, CredentialScope, CredentialSource

log = logging.getLogger(__name__)

# A fetch costs the service three Lambdas: a walk over many datasets asks for a few at a time.
_CONCURRENT_FETCHES = 4
_UNKNOWN_KEPT_S = 60.0
_UNKNOWN_KEPT = 1024
_PARSED_KEPT = 64
# After a failure what is known is served at once for so long, however old.
_DOWN_S = 30.0
_LEFT_OUT_KEPT = 100


class Catalog:
    """A cache of the datasets that the services know.

    When the service gives no usable answer, what was known before is served on: work on files
    that need nothing from it must not stop with it. Deciding on a write asks for `max_age`.
    """

    def __init__(
        self, provena: Provena, database: Database, *, ttl: float, only: Sequence[str] = ()
    ) -> None:
        """`ttl` in seconds; `only` limits what is shown to these handles."""
        self.ttl = ttl
        self.only = tuple(only)
        self._provena = provena
        self._records = RecordStore(database)
        self._listed_at = 0.0
        self._appearances = 0
        self._left_out: tuple[str, ...] = ()
        self._list_lock = trio.Lock()
        self._fetch_limiter = trio.CapacityLimiter(_CONCURRENT_FETCHES)
        self._fetch_locks: weakref.WeakValueDictionary[str, trio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._unknown: dict[str, tuple[float, ProvenaError]] = {}
        self._down_until = 0.0
        self._parsed: OrderedDict[str, Dataset] = OrderedDict()
        self._chains = Chains(self.record)

    async def datasets(self) -> list[Summary]:
        """The datasets to show in the root, oldest first."""
        if self.only:
            return [summary for handle in self.only if (summary := await self._summary(handle))]
        async with self._list_lock:
            if time.monotonic() >= self._listed_at + self.ttl or not self._listed_at:
                await self._refresh_list()
        return self._records.listed()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why rows of the last list are not shown, a sentence each; the first hundred."""
        return self._left_out

    async def is_known(self, handle: str) -> bool:
        """Whether the services have ever shown this dataset; the list is no older than the TTL.

        Others that look like none are asked for nobody: desktops look up many names.
        """
        if self.only:
            return handle in self.only
        if not self._records.has(handle):
            await self.datasets()
        return self._records.has(handle)

    @property
    def list_number(self) -> int:
        """Changes whenever a complete list was read."""
        return self._records.listing

    @property
    def list_timeout(self) -> float:
        """For how many seconds the list stays fresh."""
        return max(0.0, self._listed_at + self.ttl - time.monotonic()) if self._listed_at else 0.0

    async def record(self, handle: str) -> DatasetRecord:
        """A dataset's record: as listed while the list is fresh, else fetched."""
        if self.list_timeout > 0 and not self.only:
            listed = self._records.listed_record(handle)
            if listed is not None:
                return listed
        return (await self.dataset(handle)).record

    async def versions(self, handle: str) -> list[tuple[int, str]]:
        """The version chain through a dataset, as (number, handle), oldest first.

        It follows the records, even if the chain is forked, broken or incomplete: faults are
        logged. See Chains.through.
        """
        return await self._chains.through(handle)

    async def dataset(self, handle: str, max_age: float | None = None) -> Dataset:
        """A dataset with this user's roles and the lock, no older than `max_age` (the TTL) seconds.

        Raises NotFound, Unauthorised, Unavailable (only if nothing is known or `max_age` is given).
        """
        if self.only and handle not in self.only:
            raise NotFound(f"{handle} is not among the datasets of this mount")
        age = self.ttl if max_age is None else max_age
        known = self._known(handle)
        if known is not None and _is_fresh(known, age):
            return known
        lock = self._fetch_locks.setdefault(handle, trio.Lock())
        async with lock:
            self._raise_if_unknown(handle)
            known = self._known(handle)
            if known is not None and _is_fresh(known, age):
                return known
            if known is not None and max_age is None and time.monotonic() < self._down_until:
                return known
            try:
                return await self._fetch(handle)
            except (Unavailable, LoginRequired) as error:
                self._down_until = time.monotonic() + _DOWN_S
                if known is None or max_age is not None:
                    raise
                log.warning("%s: serving cached data: %s", handle, error)
                return known

    def _known(self, handle: str) -> Dataset | None:
        """The last fetched record: parsing one with a long history takes milliseconds."""
        known = self._parsed.get(handle) or self._records.dataset(handle)
        if known is not None:
            self._parsed[handle] = known
            self._parsed.move_to_end(handle)
            if len(self._parsed) > _PARSED_KEPT:
                self._parsed.popitem(last=False)
        return known

    def appeared(self, handle: str) -> None:
        """A dataset was just made: the list and look-ups find it at once."""
        self._unknown.pop(handle, None)
        self._listed_at = 0.0
        self._appearances += 1

    async def search(self, query: str, limit: int = 50) -> list[SearchHit]:
        """Datasets matching `query`, best first; may name some this user cannot fetch."""
        return await self._provena.search.datasets(query, limit)

    def credentials(self, handle: str) -> CredentialSource:
        """Where the S3 bucket of a dataset gets its keys from; it raises FSError."""
        broker = self._provena.broker

        async def source(access: CredentialScope, rejected: Credentials | None) -> Credentials:
            with as_file_errors():
                issued = await broker.get(
                    handle, access.value, None if rejected is None else rejected.access_key_id
                )
            return Credentials(
                issued.access_key_id,
                issued.secret_access_key,
                issued.session_token,
                issued.expires_at,
            )

        return source

    async def _summary(self, handle: str) -> Summary | None:
        try:
            record = await self.record(handle)
        except (NotFound, Unauthorised) as error:
            log.warning("%s is not shown: %s", handle, error)
            return None
        except Unavailable as error:
            if error.status != UNUSABLE:
                raise
            log.warning("%s is not shown: %s", handle, error)
            return None
        return Summary(
            handle, record.display_name, record.created_timestamp, record.updated_timestamp
        )

    async def _refresh_list(self) -> None:
        appearances = self._appearances
        listing = self._records.begin_listing()
        page: list[DatasetRecord] = []
        left_out: list[str] = []
        try:
            async for record in self._provena.datastore.list_all(left_out.append):
                page.append(record)
                if len(page) >= 100:
                    self._records.put_listed(listing, page)
                    page = []
        except Unavailable as error:
            if not self._records.listed():
                raise
            log.warning("the dataset list could not be refreshed: %s", error)
        else:
            self._records.put_listed(listing, page)
            self._records.finish_listing(listing)
            self._note_left_out(left_out)
        # Datasets created while the list was read may be missing from it.
        self._listed_at = time.monotonic() if appearances == self._appearances else 0.0

    def _note_left_out(self, sentences: Sequence[str]) -> None:
        """Keep the words for the mount's account of itself, and log those that are new."""
        kept = tuple(sentences[:_LEFT_OUT_KEPT])
        for sentence in kept:
            if sentence not in self._left_out:
                log.warning("a dataset is left out of the list: %s", sentence)
        self._left_out = kept

    async def _fetch(self, handle: str) -> Dataset:
        try:
            async with self._fetch_limiter:
                fetched = await self._provena.datastore.fetch(handle)
                self._records.may_change = await self._provena.may_change()
        except LoginRequired:
            raise
        except (NotFound, Unauthorised) as error:
            self._remember_unknown(handle, error)
            raise
        dataset = Dataset(
            fetched.record, fetched.roles, fetched.locked, time.time(), self._records.may_change
        )
        self._records.put_fetched(dataset)
        self._parsed[handle] = dataset
        return dataset

    def _raise_if_unknown(self, handle: str) -> None:
        until, error = self._unknown.get(handle, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise type(error)(str(error))

    def _remember_unknown(self, handle: str, error: ProvenaError) -> None:
        self._records.forget(handle)
        self._parsed.pop(handle, None)
        if len(self._unknown) >= _UNKNOWN_KEPT:
            self._unknown.clear()
        self._unknown[handle] = (time.monotonic() + min(self.ttl, _UNKNOWN_KEPT_S), error)


def _is_fresh(dataset: Dataset, age: float) -> bool:
    """A clock that was set back makes nothing fresh."""
    return 0 <= time.time() - dataset.fetched_at < age
