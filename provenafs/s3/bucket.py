"""One dataset's bucket: listings, ranged reads, and single changes."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from provenafs.s3.answers import Answer, ErrorAnswer
from provenafs.s3.calls import Requester, S3Context
from provenafs.s3.clients import DEFAULT_REGION
from provenafs.s3.errors import BadAnswer, NoSuchKey
from provenafs.s3.listing import PAGE
from provenafs.s3.metadata import Head, head_of
from provenafs.s3.sender import ObjectRequest
from provenafs.s3.types import (
    Credentials,
    CredentialScope,
    CredentialSource,
    ListPage,
    Range,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# A HEAD of a bucket in another region, or without access, returns its region all the same.
_TELLING = (301, 307, 400, 403)
_LARGE = 512 * 1024  # bytes; a smaller range says nothing of what the network gives
_REGION_HEADER = "x-amz-bucket-region"
_REGION = re.compile(r"[a-z0-9-]{1,32}")


class Bucket:
    """The objects of a bucket, as far as one dataset's credentials reach."""

    def __init__(self, name: str, source: CredentialSource, service: S3Context) -> None:
        self.name = name
        self.service = service
        self._caller = Requester(service, source)
        self._told: set[str] = set()  # prefixes below which entries were left out

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        max_keys: int = 1000,
    ) -> ListPage:
        """One page of the keys below `prefix`: after the page that gave `token`, or after a key.

        Of more than one page `Pages` sees to it that they end. Raises S3Error.
        """
        parameters: dict[str, Any] = {}
        if token is not None:
            parameters["ContinuationToken"] = token
        elif start_after is not None:
            parameters["StartAfter"] = start_after

        def work(client: S3Client) -> ListPage:
            answer: Any = client.list_objects_v2(
                Bucket=self.name,
                Prefix=prefix,
                Delimiter=delimiter,
                MaxKeys=max_keys,
                EncodingType="url",
                **parameters,
            )
            return _only_below(prefix, delimiter, answer[PAGE])

        page = await self.boto(f"listing {prefix}", work, self.service.listings)
        if page.left_out and prefix not in self._told:
            self._told.add(prefix)
            log.warning(
                "listing %s: %d entries that cannot be shown were left out, such as %s",
                prefix, len(page.left_out), page.left_out[0],
            )  # fmt: skip
        return page

    async def head(
        self, key: str, *, access: CredentialScope = CredentialScope.READ, retry: bool = True
    ) -> Head:
        """An object without its bytes. Raises NoSuchKey, S3Error."""
        limiter = self.service.listings if access is CredentialScope.READ else self.service.uploads

        def work(client: S3Client) -> Head:
            answer: Any = client.head_object(Bucket=self.name, Key=key)
            return head_of(answer, key)

        try:
            return await self.boto(f"looking at {key}", work, limiter, access=access, retry=retry)
        except NoSuchKey:
            await self.look()
            raise

    async def look(self) -> None:
        """Raise S3Error if the bucket is gone: a HEAD of an object answers 404 then as well."""
        await self._caller.call(
            f"looking at {self.name}", self._ask_region, limiter=self.service.listings
        )

    async def read_range(
        self, key: str, start: int, length: int, etag: str, *, size: int, retry: bool = True
    ) -> memoryview:
        """`length` bytes from `start` of the object version `etag`, which has `size` bytes.

        Without `retry` one attempt is made, and a long range waits until the network has room for
        it. Raises PreconditionFailed if the object is another by now, NoSuchKey, S3Error.
        """
        wanted = Range(self.name, key, etag, size, start)
        receive = partial(self._receive, wanted, length, await self._region())
        async with self._measured(length, is_urgent=retry):
            return await self._caller.call(
                f"reading {key}", receive, limiter=self.service.reads, retry=retry
            )

    @asynccontextmanager
    async def _measured(self, size: int, *, is_urgent: bool) -> AsyncIterator[None]:
        lanes = self.service.download_lanes
        lane = nullcontext() if size < _LARGE else lanes.transfer(size, is_urgent=is_urgent)
        async with lane:
            began, received = trio.current_time(), 0
            self.service.throughput.begin()
            try:
                yield
                received = size
            finally:
                self.service.throughput.end(received, trio.current_time() - began)

    def _receive(
        self, wanted: Range, length: int, region: str, credentials: Credentials
    ) -> memoryview:
        data = self.service.buffers.take(length)
        self.service.clients.sender.receive(wanted, region, credentials, data)
        return data

    async def boto(
        self,
        what: str,
        work: Callable[[S3Client], _T],
        limiter: trio.CapacityLimiter,
        *,
        access: CredentialScope = CredentialScope.READ,
        retry: bool = True,
    ) -> _T:
        """Run `work` with a boto3 client in a thread; see Requester.call. Raises S3Error."""
        region = await self._region()
        return await self._caller.call(
            what,
            lambda credentials: work(self.service.clients.boto(region, credentials)),
            limiter=limiter,
            access=access,
            retry=retry,
        )

    async def change(
        self, what: str, request: Callable[[], ObjectRequest], *, retry: bool = False
    ) -> Answer:
        """Send what `request` makes for an attempt; see Requester.call. Raises S3Error."""
        region = await self._region()
        sender = self.service.clients.sender
        return await self._caller.call(
            what,
            lambda credentials: sender.send(request(), region, credentials),
            limiter=self.service.uploads,
            access=CredentialScope.WRITE,
            retry=retry,
        )

    async def _region(self) -> str:
        """The bucket's region, from a HEAD, even if that is refused or redirected.

        GetBucketLocation is denied to these credentials.
        """
        known = self.service.regions.get(self.name)
        if known is None:
            known = await self._caller.call(
                f"finding the region of {self.name}",
                self._ask_region,
                limiter=self.service.listings,
            )
            self.service.regions[self.name] = known
        return known

    def _ask_region(self, credentials: Credentials) -> str:
        request = ObjectRequest("HEAD", self.name)
        try:
            headers = self.service.clients.sender.send(request, DEFAULT_REGION, credentials).headers
        except ErrorAnswer as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                raise ErrorAnswer(answer.status, "NoSuchBucket") from None
            if answer.status not in _TELLING or not self._is_by_server(answer):
                raise
            headers = answer.headers
        region = headers.get(_REGION_HEADER) or DEFAULT_REGION
        if not _REGION.fullmatch(region):  # it becomes a part of the address
            raise BadAnswer("not the name of a region")
        return region

    def _is_by_server(self, answer: ErrorAnswer) -> bool:
        """Whether a refusal is not of something in between: where the bucket is, is remembered."""
        if _REGION_HEADER in answer.headers:
            return True
        # Servers other than AWS report no region.
        return self.service.clients.endpoint_url is not None and not answer.is_redirect


def _only_below(prefix: str, delimiter: str, page: ListPage) -> ListPage:
    """A page without what was not asked for. BadAnswer if it has nothing else."""
    skip = len(prefix)
    objects = tuple(
        item
        for item in page.objects
        if item.key.startswith(prefix) and not (delimiter and item.key.find(delimiter, skip) >= 0)
    )
    prefixes = tuple(name for name in page.prefixes if _is_folder(name, prefix, delimiter))
    foreign = len(page.objects) + len(page.prefixes) - len(objects) - len(prefixes)
    if not foreign:
        return page
    if not objects and not prefixes:  # to take it for an empty directory would hide what is there
        raise BadAnswer("a page of another listing")
    left_out = (*page.left_out, *["a key that was not asked for"] * foreign)
    return ListPage(objects, prefixes, page.next_token, left_out)


def _is_folder(name: str, prefix: str, delimiter: str) -> bool:
    return name.startswith(prefix) and name.find(delimiter, len(prefix)) == len(name) - 1
