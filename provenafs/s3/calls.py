"""How every S3 request is made: in a thread, with current credentials, retried, in bounded time."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import trio
import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from obstore import exceptions as obstore

from provenafs.guard import in_thread
from provenafs.s3.buffers import Buffers
from provenafs.s3.clients import Clients
from provenafs.s3.errors import (
    AccessDenied,
    ClockSkewed,
    NoSuchKey,
    PreconditionFailed,
    S3Error,
    Unavailable,
)
from provenafs.s3.pace import Pace
from provenafs.s3.types import Access, Credentials, CredentialSource

log = logging.getLogger(__name__)

_T = TypeVar("_T")

READS_AT_ONCE = 48
_LISTINGS_AT_ONCE = 16
UPLOADS_AT_ONCE = 16
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 5.0
# A stalled attempt must leave time for another within the deadline.
_ATTEMPTS_PER_DEADLINE = 3

# AccessDenied is among them: S3 answers it for some expired session tokens, and a role may have
# been granted since. Fresh credentials are tried once.
_STALE_CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "AccessDenied",
     "ExpiredTokenException", "InvalidClientTokenId", "Forbidden", "403",
     "400"}  # the answer to a HEAD has no body to tell an expired token from other faults
)  # fmt: skip
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NotFound", "404"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_OVERLOAD = frozenset({"SlowDown", "SlowDownRead", "ServiceUnavailable", "503"})
_PASSING = _OVERLOAD | {"RequestTimeout", "OperationAborted"}
_FAILURES = (
    ClientError,
    BotoCoreError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    obstore.BaseError,
    OSError,
)


class Service:
    """What the buckets of one mount share: address, clients, limiters, deadline."""

    def __init__(self, endpoint_url: str | None, io_timeout: float) -> None:
        """`endpoint_url` None means AWS; `io_timeout` is in seconds without progress."""
        self.io_timeout = io_timeout
        connections = READS_AT_ONCE + UPLOADS_AT_ONCE
        self.clients = Clients(endpoint_url, io_timeout / _ATTEMPTS_PER_DEADLINE, connections)
        self.buffers = Buffers()
        # Apart from each other, so that a stat is served while reads or uploads wait.
        self.reads = trio.CapacityLimiter(READS_AT_ONCE)
        self.listings = trio.CapacityLimiter(_LISTINGS_AT_ONCE)
        self.uploads = trio.CapacityLimiter(UPLOADS_AT_ONCE)
        self.pace = Pace(self.reads)
        self.regions: dict[str, str] = {}


class Caller:
    """Makes the requests of one bucket with one dataset's credentials."""

    def __init__(self, service: Service, source: CredentialSource) -> None:
        self.service = service
        self._source = source

    async def call(
        self,
        what: str,
        work: Callable[[Credentials], _T],
        *,
        limiter: trio.CapacityLimiter,
        access: Access = Access.READ,
        retry: bool = True,
    ) -> _T:
        """Run blocking `work` in a thread; `what` names the request in errors.

        Failures that may pass are retried with backoff until `io_timeout` seconds have gone by
        (not at all without `retry`); refused credentials are replaced once. Raises S3Error.
        """
        deadline = trio.current_time() + self.service.io_timeout
        backoff = _FIRST_BACKOFF_S
        rejected: Credentials | None = None
        while True:
            credentials = await self._source(access, rejected)
            try:
                result = await in_thread(work, credentials, limiter=limiter, abandon_on_cancel=True)
            except _FAILURES as error:
                code = error_code(error)
                if code in _STALE_CREDENTIALS and rejected is None:
                    rejected = credentials
                    continue
                if code in _OVERLOAD:
                    self.service.pace.slow_down()
                failure = translate(error, what)
            except Unavailable as error:
                failure = error
            else:
                self.service.pace.answered()
                return result
            pause = backoff * random.uniform(0.5, 1.0)
            if not retry or not isinstance(failure, Unavailable):
                raise failure
            if trio.current_time() + pause >= deadline:
                raise failure
            log.info("%s; trying again", failure)
            await trio.sleep(pause)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_S)


def error_code(error: Exception) -> str:
    """The S3 error code of a failed request; empty where there was no answer."""
    if isinstance(error, ClientError):
        return str(_answer(error, "Error").get("Code", ""))
    if isinstance(error, obstore.PreconditionError):
        return "PreconditionFailed"
    if isinstance(error, obstore.NotFoundError):
        return "NoSuchKey"
    text = str(error)
    match = re.search(r"<Code>(\w+)</Code>", text) or re.search(r"status code: (\d{3})", text)
    if match:
        return match[1]
    if isinstance(error, (obstore.PermissionDeniedError, obstore.UnauthenticatedError)):
        return "AccessDenied"
    return ""


def translate(error: Exception, what: str) -> S3Error:
    """Our exception for one of boto3's or obstore's; without their text, which may hold keys."""
    code = error_code(error)
    if code in _MISSING:
        return NoSuchKey(f"{what}: not there")
    if code in _CHANGED:
        return PreconditionFailed(f"{what}: changed by somebody else")
    if code == "RequestTimeTooSkewed":
        return ClockSkewed(_skew(error))
    if code in _STALE_CREDENTIALS:
        return AccessDenied(f"{what}: access denied")
    if code in _PASSING or _status(error) >= 500 or not code:
        return Unavailable(f"{what}: {code or type(error).__name__}")
    return S3Error(f"{what}: {code}")


def _status(error: Exception) -> int:
    return int(_answer(error, "ResponseMetadata").get("HTTPStatusCode", 500))


def _skew(error: Exception) -> str:
    advice = "set this machine's clock (for instance: timedatectl set-ntp true)"
    match = re.search(r"<ServerTime>([^<]+)</ServerTime>", str(error))
    server_time = match[1] if match else _answer(error, "Error").get("ServerTime")
    try:
        ahead = (datetime.now(UTC) - datetime.fromisoformat(server_time or "")).total_seconds()
    except (ValueError, TypeError):
        return f"this machine's clock differs too much from the S3 server's: {advice}"
    direction = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {abs(ahead):.0f} s {direction} the S3 server's: {advice}"


def _answer(error: Exception, part: str) -> dict[str, Any]:
    answer: Any = error.response if isinstance(error, ClientError) else {}
    found: dict[str, Any] = answer.get(part, {})
    return found
