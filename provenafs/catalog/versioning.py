"""New versions: each request is sent once; if the response is lost, the record is checked."""

from __future__ import annotations

import errno
import logging
import weakref
from dataclasses import dataclass

import trio

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.lost_answers import pauses_before_looks
from provenafs.catalog.saving import has_legacy_version
from provenafs.errors import FSError
from provenafs.provena.datastore import DataStore
from provenafs.provena.errors import Invalid, NotFound, ProvenaError, Unauthorised, Unavailable
from provenafs.provena.records import DatasetRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a dataset: its own handle, and its number in the chain, from 1."""

    handle: str
    number: int


class Versioning:
    """Makes versions, one of a dataset at a time."""

    def __init__(self, catalog: Catalog, datastore: DataStore) -> None:
        self._catalog = catalog
        self._datastore = datastore
        self._locks: weakref.WeakValueDictionary[str, trio.Lock] = weakref.WeakValueDictionary()

    async def create(self, handle: str, reason: str) -> Version:
        """Make the next version of a dataset, which has no files yet.

        The request is sent once. Neither a lock nor a release stands in its way. Raises Invalid for
        an empty reason and for what is not the newest version, FSError(EACCES) without the role,
        FSError(EIO) for a version that the service made but left pointing to the files of this one,
        and any ProvenaError.
        """
        reason = reason.strip()
        if not reason:
            raise Invalid("a new version needs a reason")
        lock = self._locks.setdefault(handle, trio.Lock())
        async with lock:
            record = await self._newest(handle)
            try:
                made = await self._datastore.version(handle, reason)
            except Unavailable as error:
                new = await self._after_no_answer(record, reason, error)
            except Invalid:
                await self._newest(handle)  # another client was faster
                raise
            else:
                new = Version(made.handle, record.version + 1)
            await self._refresh(handle, new.handle)
            return new

    async def following(self, handle: str) -> Version:
        """The next version of a dataset that has one; raises NotFound."""
        record = (await self._catalog.dataset(handle, max_age=0)).record
        if record.next_version is None:
            raise NotFound(f"{handle} has no next version: make one")
        return Version(record.next_version, record.version + 1)

    async def _newest(self, handle: str) -> DatasetRecord:
        """The record of a dataset that this user may make the next version of."""
        dataset = await self._catalog.dataset(handle, max_age=0)
        refusal = dataset.version_refusal()
        if refusal is not None:
            raise refusal
        if dataset.record.next_version is not None:
            _, newest = (await self._catalog.versions(handle))[-1]
            raise Invalid(
                f"{handle} is not the newest version, {newest} is: make the next version of that"
            )
        if has_legacy_version(dataset.record.collection_format):
            raise Invalid(
                f"{handle} cannot have a new version as long as its metadata has the member"
                " 'version' of dataset_info: the service would make it without a folder of its own;"
                " save the metadata without this member first"
            )
        return dataset.record

    async def _after_no_answer(
        self, old: DatasetRecord, reason: str, error: Unavailable
    ) -> Version:
        """The version may exist nevertheless, or be under way: check the record."""
        new: DatasetRecord | None = None
        for pause in pauses_before_looks(error):
            await trio.sleep(pause)
            new = await self._made(old.id, reason, error)
            if new is not None and new.has_own_folder:
                return Version(new.id, new.version)
        if new is None:
            raise Unavailable(f"{error}: no new version of {old.id} was made", error.status)
        await self._refresh(old.id, new.id)
        raise FSError(
            errno.EIO,
            f"{new.id} was made as the next version of {old.id}, but not completed: it still points"
            f" to the files in {new.s3.path} and nothing is written there, ask the data store's"
            " administrator",
        )

    async def _made(self, handle: str, reason: str, error: Unavailable) -> DatasetRecord | None:
        """The next version if it is there by now and was made for this reason."""
        try:
            link = (await self._catalog.dataset(handle, max_age=0)).record.next_version
            if link is None:
                return None
            new = (await self._datastore.fetch(link)).record
            if new.version_reason == reason:
                return new
        except Unavailable:
            raise Unavailable(
                f"{error}, and whether a new version of {handle} was made is not known: look at its"
                " versions before you try again",
                error.status,
            ) from None
        except (NotFound, Unauthorised):
            pass  # who makes a version owns it: this is another user's
        await self._newest(handle)
        return None

    async def _refresh(self, handle: str, new: str) -> None:
        """Let the catalog show the new version at once."""
        self._catalog.appeared(new)
        try:
            await self._catalog.dataset(handle, max_age=0)
        except ProvenaError as error:
            log.warning("%s is shown without its new version for a while: %s", handle, error)
