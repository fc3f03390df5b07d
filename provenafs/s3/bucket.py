"""One dataset's bucket: listings, ranged reads, and single changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from botocore.exceptions import ClientError

from provenafs.s3.calls import Caller, Service
from provenafs.s3.clients import DEFAULT_REGION
from provenafs.s3.errors import Unavailable
from provenafs.s3.late_deletes import LateDeletes
from provenafs.s3.listing import PAGE
from provenafs.s3.sender import ObjectRequest
from provenafs.s3.types import (
    Access,
    Credentials,
    CredentialSource,
    ListPage,
    ObjectInfo,
    nanoseconds,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")

# Of a small read most of the work is the request, where obstore is fastest; of a large one it is
# the body, which is received where it stays, and obstore copies.
_LARGE = 1024 * 1024  # bytes

# Keys that obstore cannot name: empty, '.' and '..' segments, control characters, a final '/'.
_AWKWARD_KEY = re.compile(r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]")


class Bucket:
    """The objects of a bucket, as far as one dataset's credentials reach."""

    def __init__(self, name: str, source: CredentialSource, service: Service) -> None:
        self.name = name
        self.service = service
        self.late_deletes = LateDeletes()
        self._caller = Caller(service, source)

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

        Raises S3Error.
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
            page: ListPage = answer[PAGE]
            return page

        return await self.boto(f"listing {prefix}", work, self.service.listings)

    async def head(self, key: str) -> ObjectInfo:
        """What is known of an object without reading it. Raises NoSuchKey, S3Error."""

        def work(client: S3Client) -> ObjectInfo:
            answer: Any = client.head_object(Bucket=self.name, Key=key)
            try:
                modified = nanoseconds(answer["LastModified"])
                return ObjectInfo(key, answer["ContentLength"], answer["ETag"], modified)
            except KeyError as error:
                raise Unavailable(f"looking at {key}: no {error.args[0]} came") from None

        return await self.boto(f"looking at {key}", work, self.service.listings)

    async def read_range(
        self, key: str, start: int, length: int, etag: str, *, retry: bool = True
    ) -> memoryview:
        """`length` bytes from `start` of the object version `etag`.

        Without `retry` one attempt is made. Raises PreconditionFailed if the object is another
        by now, NoSuchKey, S3Error.
        """
        is_large = length >= _LARGE or _AWKWARD_KEY.search(key)
        read = self._read_large if is_large else self._read_small
        return await self._caller.call(
            f"reading {key}",
            partial(read, key, start, length, etag, await self._region()),
            limiter=self.service.reads,
            retry=retry,
        )

    def _read_large(
        self, key: str, start: int, length: int, etag: str, region: str, credentials: Credentials
    ) -> memoryview:
        headers = {"range": f"bytes={start}-{start + length - 1}", "if-match": etag}
        data = self.service.buffers.take(length)
        self.service.clients.sender.receive(
            ObjectRequest("GET", self.name, key, headers), region, credentials, data
        )
        return data

    def _read_small(
        self, key: str, start: int, length: int, etag: str, region: str, credentials: Credentials
    ) -> memoryview:
        import obstore

        store = self.service.clients.store(self.name, region, credentials)
        options: Any = {"range": (start, start + length), "if_match": etag}
        data = memoryview(obstore.get(store, key, options=options).bytes())
        if len(data) != length:
            raise Unavailable(f"reading {key}: {len(data)} of {length} bytes came")
        return data

    async def boto(
        self,
        what: str,
        work: Callable[[S3Client], _T],
        limiter: trio.CapacityLimiter,
        *,
        access: Access = Access.READ,
        retry: bool = True,
    ) -> _T:
        """Run `work` with a boto3 client in a thread; see Caller.call. Raises S3Error."""
        region = await self._region()
        return await self._caller.call(
            what,
            lambda credentials: work(self.service.clients.boto(region, credentials)),
            limiter=limiter,
            access=access,
            retry=retry,
        )

    async def change(self, what: str, request: Callable[[], ObjectRequest]) -> Mapping[str, str]:
        """Send what `request` makes for an attempt, once; see Caller.call. Returns the headers.

        Raises S3Error.
        """
        region = await self._region()
        sender = self.service.clients.sender
        return await self._caller.call(
            what,
            lambda credentials: sender.send(request(), region, credentials),
            limiter=self.service.uploads,
            access=Access.WRITE,
            retry=False,
        )

    async def _region(self) -> str:
        """Where the bucket is: told by HEAD, also by one that is refused or redirected.

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
        client = self.service.clients.boto(DEFAULT_REGION, credentials)
        try:
            headers = client.head_bucket(Bucket=self.name)["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            answer = error.response["ResponseMetadata"]
            if answer["HTTPStatusCode"] not in (301, 307, 400, 403):
                raise
            headers = answer["HTTPHeaders"]
        return headers.get("x-amz-bucket-region") or DEFAULT_REGION
