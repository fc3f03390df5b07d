"""Requests for single objects, sent without a client.

Of a small PUT through boto3 most is boto3: its validators, handlers and serialisers take 1.5 ms
of processor time beside 0.5 ms for all that is needed. One request is made per file here, so
that this is what many small files cost. Of a large GET through boto3 a third is copying.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from botocore.parsers import RestXMLParser
from botocore.utils import get_environ_proxies

from provenafs.s3.errors import Unavailable
from provenafs.s3.signature import signed
from provenafs.s3.types import Credentials

_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """A request for `key` of `bucket`; its headers in lower case."""

    method: str
    bucket: str
    key: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # bytes, or a file object with a length
    query: Mapping[str, str] = field(default_factory=dict)


class Sender:
    """Signs and sends requests, with the proxies and certificates of the environment. Thread-safe.

    A connection serves all credentials.
    """

    def __init__(
        self, endpoint_url: str | None, timeouts: tuple[float, float], connections: int, agent: str
    ) -> None:
        """`endpoint_url` None means AWS; `timeouts`, in seconds, to connect and without a byte."""
        self._endpoint_url = endpoint_url
        self._agent = agent
        # The stubs know less than botocore takes.
        settings: dict[str, Any] = {
            "verify": os.environ.get("REQUESTS_CA_BUNDLE") or True,
            "proxies": get_environ_proxies(endpoint_url or "https://s3.amazonaws.com"),
            "timeout": timeouts,
            "max_pool_connections": connections,
            "socket_options": _SOCKET_OPTIONS,
        }
        self.session = URLLib3Session(**settings)
        self._parser: Any = RestXMLParser()

    def send(
        self, request: ObjectRequest, region: str, credentials: Credentials
    ) -> Mapping[str, str]:
        """The headers of the answer. Raises botocore's errors, as a client does."""
        return self._answer(request, region, credentials).headers

    def receive(
        self, request: ObjectRequest, region: str, credentials: Credentials, into: memoryview
    ) -> None:
        """Fill `into` with the range of an object that is asked for; no byte is copied twice.

        Raises botocore's errors, OSError, and Unavailable where not these bytes came.
        """
        answer = self._answer(request, region, credentials, stream_output=True)
        is_whole = False
        try:
            is_whole = answer.status_code == HTTPStatus.PARTIAL_CONTENT and _fill(into, answer.raw)
        except HTTPException as error:
            raise Unavailable(f"reading {request.key}: {type(error).__name__}") from error
        finally:
            if is_whole:
                answer.raw.release_conn()
            else:  # bytes may be left: the connection serves nobody else
                answer.raw.close()
        if not is_whole:
            raise Unavailable(f"reading {request.key}: not the range that was asked for")

    def _answer(
        self,
        request: ObjectRequest,
        region: str,
        credentials: Credentials,
        *,
        stream_output: bool = False,
    ) -> AWSResponse:
        url = f"{_address(self._endpoint_url, request.bucket, region)}/{quote(request.key)}"
        if request.query:
            url += "?" + urlencode(sorted(request.query.items()), quote_via=quote, safe="")
        headers: Any = self._headers(request, url, region, credentials)
        answer = self.session.send(
            AWSPreparedRequest(request.method, url, headers, request.body, stream_output)
        )
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            raise ClientError(self._parsed(answer), request.method)
        return answer

    def _parsed(self, answer: AWSResponse) -> Any:
        response = {
            "status_code": answer.status_code,
            "headers": answer.headers,
            "body": answer.content,
        }
        return self._parser.parse(response, None)

    def _headers(
        self, request: ObjectRequest, url: str, region: str, credentials: Credentials
    ) -> dict[str, str]:
        headers = {"user-agent": self._agent, **request.headers}
        if request.body is not None:
            headers["content-length"] = str(len(request.body))
        parts = urlsplit(url)
        now = datetime.now(UTC)
        return signed(
            request.method, parts.netloc, parts.path, parts.query, headers, region, credentials, now
        )


def _address(endpoint_url: str | None, bucket: str, region: str) -> str:
    """The URL of a bucket, without a final slash; `endpoint_url` None means AWS."""
    if endpoint_url is None:
        return f"https://{bucket}.s3.{region}.amazonaws.com"
    return f"{endpoint_url.rstrip('/')}/{bucket}"


def _fill(into: memoryview, body: Any) -> bool:
    """Whether a body has exactly the bytes that fit.

    It is read from below urllib3, which would copy; http.client receives in place.
    """
    response = body._fp
    received = 0
    while received < len(into) and (count := response.readinto(into[received:])):
        received += count
    return received == len(into) and not response.read(1)
