"""LIST requests that refresh directories of one dataset in the index."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from provenafs.content.listing.index import Entry, Index, Invalidation, Kind
from provenafs.content.listing.keys import (
    Children,
    ChildrenOfPage,
    TreeFromKeys,
    UnrepresentableKey,
)
from provenafs.errors import FSError
from provenafs.guard import Background
from provenafs.lib.signal import Signal
from provenafs.s3.api import BucketApi
from provenafs.s3.pages import Pages
from provenafs.s3.types import ListPage, ObjectInfo

log = logging.getLogger(__name__)

_UNFIT_KEPT = 1000  # for the report, of one directory
_PAGES_BUFFERED = 2


@dataclass(frozen=True, slots=True)
class ListingScope:
    """The scope of listings: the keys below `prefix`, which ends in a slash.

    `root` is the inode number that stands for the prefix; `nursery` owns the requests.
    """

    index: Index
    bucket: BucketApi
    nursery: Background
    root: int
    prefix: str
    is_hidden: Callable[[str], bool]
    changed: Callable[[Sequence[Invalidation]], None]
    unfit: dict[str, list[UnrepresentableKey]]
    """Keys that cannot be shown, by directory, as of its last listing."""
    follow: Callable[[Sequence[ObjectInfo]], Awaitable[None]]
    """Told of each page before it is merged."""

    def report(self, found: Children, *, is_first: bool) -> None:
        """Keep what of a directory cannot be shown; warn once for each directory."""
        if not found.unfit:
            if is_first:
                self.unfit.pop(found.prefix, None)
            return
        if found.prefix not in self.unfit:
            first = found.unfit[0]
            log.warning(
                "%s: keys that are no file names, such as %r: %s",
                found.prefix, first.key, first.reason,
            )  # fmt: skip
        elif is_first:
            self.unfit[found.prefix].clear()
        kept = self.unfit.setdefault(found.prefix, [])
        kept.extend(found.unfit[: _UNFIT_KEPT - len(kept)])


class ListRequest:
    """A LIST of one directory under way; others may wait for it, or for one of its names."""

    def __init__(self, tree: ListingScope, ino: int, prefix: str) -> None:
        self._tree = tree
        self._ino = ino
        self._prefix = prefix
        self._stamp = tree.index.begin_listing()
        self._last = ""  # the last key or common prefix that came
        self._progress = Signal()
        self._error: Exception | None = FSError(errno.EIO, "the mount is ending")
        self.is_over = False

    async def run(self) -> None:
        """List, and merge page by page. A failure is kept for those who wait."""
        index = self._tree.index
        started: float | None = None
        folder = ChildrenOfPage(self._prefix, self._tree.is_hidden)
        try:
            async with pages(self._tree, self._prefix) as arriving:
                async for asked_at, page in arriving:
                    self._merge(folder.feed(page), page, is_first=started is None)
                    started = started or asked_at
            self._tree.changed(index.finish_listing(self._stamp, self._ino, started))
            self._error = None
        except Exception as error:
            self._error = error
        finally:
            index.end_listing(self._stamp)
            self.is_over = True
            self._progress.fire()

    async def finished(self) -> None:
        """Wait for the end; raises what went wrong."""
        while not self.is_over:
            await self._progress.wait()
        if self._error is not None:
            raise self._error

    async def child(self, name: str) -> Entry | None:
        """The child called `name`, as soon as the LIST has come past it."""
        bound = f"{self._prefix}{name}/"
        while not self.is_over and self._last < bound:
            await self._progress.wait()
        if self.is_over:
            await self.finished()
            return self._tree.index.child(self._ino, name)
        return self._tree.index.child(self._ino, name, since=self._stamp)

    def _merge(self, found: Children, page: ListPage, *, is_first: bool) -> None:
        self._tree.report(found, is_first=is_first)
        self._tree.changed(self._tree.index.merge(self._stamp, self._ino, found.listed))
        last_key = page.objects[-1].key if page.objects else ""
        self._last = max(self._last, last_key, *page.prefixes[-1:])
        self._progress.fire()


class DeepListing:
    """One undelimited LIST of all below a directory, which completes one directory after another.

    `start` is the first directory that it will complete; both prefixes end in a slash.
    """

    def __init__(self, tree: ListingScope, prefix: str, start: str) -> None:
        self.prefix = prefix
        self.start = start
        self.last = ""  # the last key that came
        self.is_complete = False
        self._tree = tree
        self._stamp = tree.index.begin_listing()
        self._unfolding = TreeFromKeys(prefix, start, tree.is_hidden)
        self._inos = {tree.prefix: tree.root}
        self._begun: dict[str, float] = {}  # when the first page of a directory was asked for

    def covers(self, prefix: str) -> bool:
        """Whether this directory is, or will be, completed."""
        return prefix.startswith(self.prefix) and prefix >= self.start

    def has_passed(self, prefix: str) -> bool:
        """Whether this directory, which it covers, is completed."""
        return self.is_complete or (self.last > prefix and not self.last.startswith(prefix))

    def is_in(self, prefix: str) -> bool:
        """Whether it is among the files of this very directory."""
        return self.last.startswith(prefix) and "/" not in self.last[len(prefix) :]

    async def run(self, go_on: Callable[[], Awaitable[bool]]) -> None:
        """List and merge; after each page `go_on` is asked. Raises S3Error."""
        tree = self._tree
        try:
            async with pages(tree, self.prefix, delimiter="", start_after=self.start) as arriving:
                async for asked_at, page in arriving:
                    self._merge(page, asked_at)
                    if not await go_on():
                        return
            self._finish(self._unfolding.finish())
            self.is_complete = True
            await go_on()
        finally:
            tree.index.end_listing(self._stamp)

    def _merge(self, page: ListPage, asked_at: float) -> None:
        index = self._tree.index
        found, complete = self._unfolding.feed(page.objects)
        for children in found:
            ino = self._ino(children.prefix)
            if ino is not None:
                is_first = children.prefix not in self._begun
                self._begun.setdefault(children.prefix, asked_at)
                self._tree.report(children, is_first=is_first)
                self._tree.changed(index.merge(self._stamp, ino, children.listed))
        self._finish(complete)
        if page.objects:
            self.last = page.objects[-1].key

    def _finish(self, complete: Sequence[str]) -> None:
        for prefix in complete:
            ino = self._inos.pop(prefix, None)
            begun = self._begun.pop(prefix, None)
            if ino is not None and begun is not None:
                index = self._tree.index
                self._tree.changed(index.finish_listing(self._stamp, ino, begun))

    def _ino(self, prefix: str) -> int | None:
        """The directory's inode number; None if it, or one above it, was removed here."""
        known = self._inos.get(prefix)
        if known is not None or prefix == self._tree.prefix:
            return known
        above, _, name = prefix[:-1].rpartition("/")
        parent = self._ino(above + "/")
        entry = None if parent is None else self._tree.index.child(parent, name)
        if entry is None or entry.kind is not Kind.DIRECTORY:
            return None
        self._inos[prefix] = entry.ino
        return entry.ino


@asynccontextmanager
async def pages(
    tree: ListingScope, prefix: str, *, delimiter: str = "/", start_after: str | None = None
) -> AsyncIterator[AsyncIterator[tuple[float, ListPage]]]:
    """The pages of a LIST with the time at which each was asked for.

    While one is looked at, the next are on their way.
    """
    send, receive = trio.open_memory_channel[tuple[float, ListPage]](_PAGES_BUFFERED)
    failure: Exception | None = FSError(errno.EIO, "the mount is ending")
    scope = trio.CancelScope()

    async def fetch() -> None:
        nonlocal failure
        following = Pages(tree.bucket, prefix, delimiter=delimiter, start_after=start_after)
        with scope, send:
            while True:
                asked_at = time.time()
                try:
                    page = await following.next()
                    if page is not None:
                        await tree.follow(page.objects)
                except Exception as error:
                    failure = error
                    return
                if page is None:
                    failure = None
                    return
                await send.send((asked_at, page))

    async def arriving() -> AsyncIterator[tuple[float, ListPage]]:
        async for item in receive:
            yield item
        if failure is not None:  # an end without the last page is not the end of the list
            raise failure

    tree.nursery.start_soon(fetch)
    try:
        yield arriving()
    finally:
        scope.cancel()
