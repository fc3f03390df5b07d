"""State shared by all nodes of one mount."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.failures import as_file_errors
from provenafs.catalog.minting import Minting
from provenafs.catalog.sharing import Links
from provenafs.catalog.versioning import Versioning
from provenafs.content.content import Content
from provenafs.content.drive import Drive
from provenafs.content.listing.index import ROOT_INO, Entry, Index, Kind
from provenafs.content.store import Store
from provenafs.content.volume import Volume
from provenafs.provena.search import SearchHit
from provenafs.s3.bucket import Bucket
from provenafs.s3.writing import ObjectWriter
from provenafs.tree.edits import Edits
from provenafs.tree.memory import DocumentMemory
from provenafs.tree.mint_texts import MintTexts
from provenafs.tree.names import directory_name, escape

# Credentials once issued outlive a lock or a release by hours: what decides on a write is no
# older than this, in seconds.
_WRITE_STATE_AGE_S = 30.0
_SEARCHES_KEPT = 64
_ERRORS_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Search:
    at: float
    hits: tuple[SearchHit, ...]


@dataclass
class Context:
    """The rooms below, and the little that lives between two requests.

    `status` makes the mount's account of itself for `.provenafs/status.json`.
    """

    catalog: Catalog
    content: Content
    store: Store
    edits: Edits
    versioning: Versioning
    minting: Minting
    links: Links
    memory: DocumentMemory
    status: Callable[[], dict[str, object]]
    started_ns: int = field(default_factory=time.time_ns)
    mint_texts: MintTexts = field(init=False)
    volumes: dict[str, Volume] = field(default_factory=dict)
    last_errors: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _names: dict[str, str] = field(default_factory=dict)
    _names_of_list: int = -1
    _searches: OrderedDict[str, _Search] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.mint_texts = MintTexts(self.memory)

    @property
    def index(self) -> Index:
        """The entries and their inode numbers."""
        return self.content.index

    def get_or_create(self, parent: int, name: str) -> Entry:
        """The entry of something the tree makes itself."""
        return self.index.get_or_create(parent, name, Kind.VIRTUAL)

    def timeout(self, fetched_at: float) -> float:
        """For how many seconds what was fetched then may still be trusted."""
        age = time.time() - fetched_at
        return max(0.0, self.catalog.ttl - age) if age >= 0 else 0.0

    def volume(self, dataset: Dataset, root: Entry) -> Volume:
        """The object tree of a dataset; `root` is the entry of its `data` directory."""
        location = dataset.record.s3
        volume = self.volumes.get(dataset.handle)
        if volume is None or (volume.drive.bucket.name, volume.drive.prefix) != location:
            handle = dataset.handle
            credentials = self.catalog.credentials(handle)
            bucket = Bucket(location.bucket_name, credentials, self.content.s3)
            drive = Drive(self.content, bucket, root, location.path)
            writer = ObjectWriter(bucket)
            volume = Volume(drive, writer, handle, partial(self.check_writable, handle))
            self.volumes[handle] = volume
        volume.drive.released_at = dataset.released_at
        return volume

    def trusted_until(self, handle: str, listed_at: float) -> float:
        """Until when, in seconds since the epoch, a listing of a dataset's files is trusted.

        One of the future is not: the clock was put back.
        """
        if listed_at > time.time():
            return 0.0
        volume = self.volumes.get(handle)
        return listed_at + (self.catalog.ttl if volume is None else volume.drive.ttl)

    async def volume_of(self, handle: str) -> Volume:
        """The object tree of a dataset by its handle, wherever the user is in the mount."""
        with as_file_errors():
            dataset = await self.catalog.dataset(handle)
        directory = self.get_or_create(ROOT_INO, directory_name(handle))
        return self.volume(dataset, self.get_or_create(directory.ino, "data"))

    async def check_writable(self, handle: str) -> None:
        """Raise why the files cannot be changed now: EACCES for role and lock, EROFS else."""
        refusal = (await self.fresh(handle)).write_refusal()
        if refusal is not None:
            raise refusal

    async def check_metadata_writable(self, handle: str) -> None:
        """Raise why the metadata cannot be changed now: EACCES for role and lock."""
        refusal = (await self.fresh(handle)).metadata_refusal()
        if refusal is not None:
            raise refusal

    async def fresh(self, handle: str) -> Dataset:
        """A dataset as it is now, near enough to decide on a change; raises FSError."""
        with as_file_errors():
            return await self.catalog.dataset(handle, max_age=_WRITE_STATE_AGE_S)

    async def by_name(self) -> dict[str, str]:
        """Handles by the file name made from their display name.

        Among equal names the oldest dataset keeps the plain one; the others get their handle.
        """
        datasets = await self.catalog.datasets()
        if self._names_of_list == self.catalog.list_number:
            return self._names
        names: dict[str, str] = {}
        for summary in datasets:
            name = escape(summary.display_name)
            if name in names:
                name = escape(summary.display_name, f" [{directory_name(summary.handle)}]")
            names[name] = summary.handle
        self._names, self._names_of_list = names, self.catalog.list_number
        return names

    async def search(self, query: str) -> tuple[SearchHit, ...]:
        """Hits for a query, asked again when older than the TTL."""
        known = self._searches.get(query)
        if known is not None and time.monotonic() < known.at + self.catalog.ttl:
            return known.hits
        hits = tuple(await self.catalog.search(query))
        self._searches[query] = _Search(time.monotonic(), hits)
        self._searches.move_to_end(query)
        while len(self._searches) > _SEARCHES_KEPT:
            self._searches.popitem(last=False)
        return hits

    def record_error(self, directory: str, message: str) -> None:
        """Keep the words of a refusal below a directory of the root, for its last-error.txt."""
        self.last_errors[directory] = message
        self.last_errors.move_to_end(directory)
        while len(self.last_errors) > _ERRORS_KEPT:
            self.last_errors.popitem(last=False)
