"""Reading a list page by page to its end, also where single pages are too big or refused."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from provenafs.provena.errors import Invalid, Unavailable

log = logging.getLogger(__name__)

_PAGE_SIZE = 100
# What a gateway answers when the service behind it took too long or said too much (6 MB at most).
_TOO_BIG = frozenset({502, 504})
_UNUSABLE = 200

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

    A page that the gateway gives up on is asked for again in smaller pieces; one that is refused
    or not usable is read by `fallback`.
    """
    key: PageKey | None = None
    size = _PAGE_SIZE
    while True:
        page, size = await _read(read, fallback, key, size)
        yield page
        if page.next_key is None:
            return
        if page.next_key == key:
            raise Unavailable("the list of datasets does not end: a page names itself as the next")
        key = page.next_key
        size = min(_PAGE_SIZE, size * 2)


async def _read(
    read: PageReader, fallback: PageReader | None, key: PageKey | None, size: int
) -> tuple[Page, int]:
    while True:
        try:
            return await read(key, size), size
        except (Invalid, Unavailable) as error:
            if isinstance(error, Unavailable) and error.status in _TOO_BIG and size > 1:
                size = max(1, size // 4)
                continue
            unusable = isinstance(error, Invalid) or error.status == _UNUSABLE
            if fallback is None or not unusable:
                raise
            log.warning("a page of the list is read from the registry instead: %s", error)
            return await fallback(key, size), size
