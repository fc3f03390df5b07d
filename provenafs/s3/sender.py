"""Requests for single objects over urllib3, without boto3.

Of a small PUT through boto3 most is boto3: its validators, handlers and serialisers take 1.5 ms
of processor time beside 0.5 ms for all that is needed. One request is made per file here, so
that this is what many small files cost. Of a large GET through boto3 a third is copying.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from provenafs.s3.answers import Answer, check_range, check_stored, etag_of, same_etag
from provenafs.s3.errors import BadAnswer, PreconditionFailed
from provenafs.s3.response import Response
from provenafs.s3.signature import signed
from provenafs.s3.types import Credentials, Range
from provenafs.s3.wire import HttpRequest, Wire


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """A request for `key` of `bucket`, or for the bucket itself; its headers in lower case."""

    method: str
    bucket: str
    key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # bytes, or a file object with a length
    query: Mapping[str, str] = field(default_factory=dict)


class Sender:
    """Signs requests and sends them over the wire. Thread-safe."""

    def __init__(self, endpoint_url: str | None, wire: Wire, agent: str) -> None:
        """`endpoint_url` None means AWS."""
        self._endpoint_url = endpoint_url
        self._wire = wire
        self._agent = agent

    def send(self, request: ObjectRequest, region: str, credentials: Credentials) -> Answer:
        """The answer. Raises what Wire.exchange does."""
        answer = self._wire.exchange(self._signed(request, region, credentials))
        if request.method == "PUT":
            check_stored(request.key, request.headers, answer)
        return answer

    def receive(
        self, wanted: Range, region: str, credentials: Credentials, into: memoryview
    ) -> None:
        """Fill `into` with a range of an object; no byte is copied twice.

        Raises PreconditionFailed where another version came, BadAnswer where not this range, and
        what Wire.sent does.
        """
        end = wanted.start + len(into) - 1
        headers = {"range": f"bytes={wanted.start}-{end}", "if-match": wanted.etag}
        request = ObjectRequest("GET", wanted.bucket, wanted.key, headers)
        with self._wire.sent(self._signed(request, region, credentials)) as response:
            _check_version(response.headers, wanted, len(into))
            if not _fill(into, response):
                raise BadAnswer("not the number of bytes that was announced")

    def _signed(self, request: ObjectRequest, region: str, credentials: Credentials) -> HttpRequest:
        url = f"{_address(self._endpoint_url, request.bucket, region)}/{quote(request.key)}"
        if request.query:
            url += "?" + urlencode(sorted(request.query.items()), quote_via=quote, safe="")
        headers = {"user-agent": self._agent, **request.headers}
        if request.body is not None:
            headers["content-length"] = str(len(request.body))
        parts = urlsplit(url)
        now = datetime.now(UTC)
        sent = signed(
            request.method, parts.netloc, parts.path, parts.query, headers, region, credentials, now
        )
        return HttpRequest(request.method, url, sent, request.body)


def _address(endpoint_url: str | None, bucket: str, region: str) -> str:
    """The URL of a bucket, without a final slash; `endpoint_url` None means AWS."""
    if endpoint_url is None:
        return f"https://{bucket}.s3.{region}.amazonaws.com"
    return f"{endpoint_url.rstrip('/')}/{bucket}"


def _check_version(headers: Mapping[str, str], wanted: Range, length: int) -> None:
    if not same_etag(etag_of(headers, "etag"), wanted.etag):
        # A server that does not know conditions: what it has now is another object.
        raise PreconditionFailed("another version came")
    check_range(headers, wanted.start, length, wanted.size)


def _fill(into: memoryview, response: Response) -> bool:
    """Whether a body has exactly the bytes that fit."""
    received = 0
    while received < len(into) and (count := response.readinto(into[received:])):
        received += count
    return received == len(into) and not response.read(1)
