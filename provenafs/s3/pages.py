"""The pages of a LIST, checked for progress."""

from __future__ import annotations

from provenafs.s3.api import BucketApi
from provenafs.s3.errors import S3Error
from provenafs.s3.types import ListPage

# S3 answers pages with nothing on them where it has passed over many deleted keys.
_MOST_IDLE_PAGES = 100


class Pages:
    """All below a prefix, page by page.

    Entries come in the order of their keys, so that a page without one beyond the last tells
    nothing new: a server that goes on like that would never end.
    """

    def __init__(
        self, bucket: BucketApi, prefix: str, *, delimiter: str = "", start_after: str | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._delimiter = delimiter
        self._start_after = start_after
        self._token: str | None = None
        self._last = ""
        self._idle = 0
        self._is_over = False

    async def next(self) -> ListPage | None:
        """The next page; None after the last. Raises S3Error."""
        if self._is_over:
            return None
        page = await self._bucket.list(
            self._prefix,
            delimiter=self._delimiter,
            start_after=self._start_after,
            token=self._token,
        )
        self._token = page.next_token
        self._is_over = page.next_token is None
        self._check_progress(page)
        return page

    def _check_progress(self, page: ListPage) -> None:
        last = max(self._last, *(item.key for item in page.objects[-1:]), *page.prefixes[-1:], "")
        self._idle = 0 if last > self._last else self._idle + 1
        self._last = last
        if self._idle > _MOST_IDLE_PAGES:
            raise S3Error(
                f"listing {self._prefix}: the server's pages do not end but show nothing new"
            )
