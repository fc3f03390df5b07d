"""Reads a paginated list to its end, even if single pages are too big or refused."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from provenafs.provena.errors import UNUSABLE, Invalid, TooLong, Unavailable

log = logging.getLogger(__name__)

_PAGE_SIZE = 100
# A gateway's status if its service took too long or sent too much (6 MB at most).
_TOO_BIG = frozenset({502, 504})
# Pages may be empty, all their rows hidden from this user. A list that shows nothing new on so
# many in a row goes nowhere, and one of so many pages is no list of datasets any more.
_MOST_WITHOUT_NEWS = 1000
_MOST_PAGES = 10_000

PageKey = dict[str, Any]
"""Where a page starts; opaque."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, perhaps none, and where the next page starts; None after the last one."""

    items: list[Any]
    next_key: PageKey | None


PageReader = Callable[[PageKey | None, int], Awaitable[Page]]


async def pages(read: PageReader, fallback: PageReader | None = None) -> AsyncIterator[Page]:
    """All pages of a list. Short and empty pages do not end it, only a missing key does.

    A page that the gateway gives up on, or that is too long, is asked for again in smaller pieces;
    one that is refused or not usable is read by `fallback`. Raises Unavailable for a list that
    does not end: one whose keys come again, that shows nothing new for long, or just goes on.
    """
    key: PageKey | None = None
    size = _PAGE_SIZE
    progress = _Progress()
    for _ in range(_MOST_PAGES):
        page, size = await _read(read, fallback, key, size)
        yield page
        if page.next_key is None:
            return
        progress.note(page)
        key = page.next_key
        size = min(_PAGE_SIZE, size * 2)
    raise _endless(f"it has more than {_MOST_PAGES} pages")


class _Progress:
    """The rows a list has shown so far: keys by their hashes, rows by their ids."""

    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._ids: set[str] = set()
        self._without_news = 0

    def note(self, page: Page) -> None:
        """Raises Unavailable unless the list comes nearer to its end with this page."""
        key = hash(json.dumps(page.next_key, sort_keys=True))
        if key in self._keys:
            raise _endless("a page names one that has been read as the next")
        self._keys.add(key)
        known = len(self._ids)
        self._ids.update(_ids(page.items))
        self._without_news = 0 if len(self._ids) > known else self._without_news + 1
        if self._without_news >= _MOST_WITHOUT_NEWS:
            raise _endless(f"{_MOST_WITHOUT_NEWS} pages have shown nothing new")


def _ids(items: list[Any]) -> Iterator[str]:
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            yield item["id"]


def _endless(why: str) -> Unavailable:
    return Unavailable(f"the list of datasets does not end: {why}")


async def _read(
    read: PageReader, fallback: PageReader | None, key: PageKey | None, size: int
) -> tuple[Page, int]:
    while True:
        try:
            return await read(key, size), size
        except (Invalid, Unavailable) as error:
            if _is_too_big(error) and size > 1:
                size = max(1, size // 4)
                continue
            unusable = isinstance(error, Invalid) or error.status == UNUSABLE
            if fallback is None or not unusable:
                raise
            log.warning("a page of the list is read from the registry instead: %s", error)
            return await fallback(key, size), size


def _is_too_big(error: Invalid | Unavailable) -> bool:
    return isinstance(error, TooLong) or (
        isinstance(error, Unavailable) and error.status in _TOO_BIG
    )
