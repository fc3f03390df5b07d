"""Runs S3 requests: in threads, with current credentials, retries and a deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeVar

import trio

from provenafs.guard import in_thread
from provenafs.lib.backoff import Backoff
from provenafs.lib.buffers import Buffers
from provenafs.lib.lanes import Lanes
from provenafs.s3.answers import ErrorAnswer
from provenafs.s3.clients import Clients
from provenafs.s3.error_codes import Cure
from provenafs.s3.errors import (
    AccessDenied,
    BadAnswer,
    ClockSkewed,
    NoSuchKey,
    PreconditionFailed,
    S3Error,
    Unavailable,
)
from provenafs.s3.pace import Pace
from provenafs.s3.throughput import Throughput
from provenafs.s3.types import Credentials, CredentialScope, CredentialSource, nanoseconds
from provenafs.s3.wire import FAILURES

log = logging.getLogger(__name__)

_T = TypeVar("_T")

CONNECTIONS = 32
"""Ranges or parts at once, at most, where no other number is set."""

_SMALL_READS_AT_ONCE = 16  # beside ranges
_LISTINGS_AT_ONCE = 16
_CHANGES_AT_ONCE = 16  # without parts
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
# A stalled attempt must leave time for another within the deadline.
_ATTEMPTS_PER_DEADLINE = 3

_BAD_ANSWERS_TAKEN = 3
_BROKEN_WORDS = {
    "NoSuchBucket": "the bucket does not exist: report it to the data store's administrator",
    "InvalidObjectState": "it is archived and must be restored before it can be read",
    "KeyTooLongError": "the path is longer than the bucket allows",
}


class S3Context:
    """State shared by the buckets of one mount: address, clients, limiters, deadline."""

    def __init__(
        self, endpoint_url: str | None, io_timeout: float, connections: int = CONNECTIONS
    ) -> None:
        """`endpoint_url` None means AWS; `io_timeout` is in seconds without progress.

        `connections`: so many ranges of large objects at once, at most, and so many parts.
        """
        self.io_timeout = io_timeout
        # Apart from each other, so that a stat is served while reads or uploads wait.
        self.reads = trio.CapacityLimiter(connections + _SMALL_READS_AT_ONCE)
        self.listings = trio.CapacityLimiter(_LISTINGS_AT_ONCE)
        self.uploads = trio.CapacityLimiter(max(connections, _CHANGES_AT_ONCE))
        self.pace = Pace(self.reads)
        self.download_lanes = Lanes(connections)
        self.upload_lanes = Lanes(connections)
        kept = sum(int(each.total_tokens) for each in (self.reads, self.listings, self.uploads))
        self.clients = Clients(endpoint_url, io_timeout / _ATTEMPTS_PER_DEADLINE, kept)
        self.buffers = Buffers()
        self.throughput = Throughput()
        self.regions: dict[str, str] = {}

    def slow_down(self, limiter: trio.CapacityLimiter) -> None:
        """The server has refused a request under this limiter because there are too many."""
        self.pace.slow_down()
        lanes = self.upload_lanes if limiter is self.uploads else self.download_lanes
        lanes.slow_down()

    async def run(
        self,
        work: Callable[[Credentials], _T],
        credentials: Credentials,
        limiter: trio.CapacityLimiter,
    ) -> _T:
        """Make one request in a thread, which is abandoned where the task is cancelled."""
        return await in_thread(work, credentials, limiter=limiter, abandon_on_cancel=True)


class Attempts:
    """The attempts at one request: how many came to nothing, and whether another may help."""

    def __init__(self, io_timeout: float) -> None:
        self.unanswered = 0
        self._bad_answers = 0
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, within=io_timeout)

    async def pause(self, failure: S3Error) -> bool:
        """Wait before the next attempt; False when it is too late for one, or would be no use."""
        self.unanswered += 1
        self._bad_answers += isinstance(failure, BadAnswer)
        # A server whose answers make no sense three times will not make any later.
        if self._bad_answers >= _BAD_ANSWERS_TAKEN or not await self._backoff.pause():
            return False
        log.info("%s; trying again", failure)
        return True


class Requester:
    """Makes the requests of one bucket with one dataset's credentials."""

    def __init__(self, service: S3Context, source: CredentialSource) -> None:
        self.service = service
        self._source = source

    async def call(
        self,
        what: str,
        work: Callable[[Credentials], _T],
        *,
        limiter: trio.CapacityLimiter,
        access: CredentialScope = CredentialScope.READ,
        retry: bool = True,
    ) -> _T:
        """Run blocking `work` in a thread; `what` names the request in errors.

        Failures that may pass are retried with backoff until `io_timeout` seconds have gone by
        (not at all without `retry`); refused credentials are replaced once. Raises S3Error.
        """
        attempts = Attempts(self.service.io_timeout)
        rejected: Credentials | None = None
        while True:
            credentials = await self._source(access, rejected)
            try:
                result = await self.service.run(work, credentials, limiter)
            except ErrorAnswer as answer:
                if answer.cure is Cure.REFRESH and rejected is None:
                    rejected = credentials
                    continue
                if answer.cure is Cure.SLOW_DOWN:
                    self.service.slow_down(limiter)
                failure = translate(answer, what)
            except Exception as error:
                failure = _failure(error, what)
            else:
                self.service.pace.answered()
                return result
            may_pass = retry and isinstance(failure, Unavailable)
            if not may_pass or not await attempts.pause(failure):
                raise failure


def translate(answer: ErrorAnswer, what: str) -> S3Error:
    """Our exception for an error; without the server's text, which may hold keys."""
    match answer.cure:
        case Cure.GONE:
            return NoSuchKey(f"{what}: not there")
        case Cure.STALE:
            return PreconditionFailed(f"{what}: changed by another client")
        case Cure.SKEWED:
            return ClockSkewed(_skew(answer.server_time))
        case Cure.REFUSED:
            return AccessDenied(f"{what}: access denied ({answer})")
        case Cure.REFRESH if answer.status != HTTPStatus.BAD_REQUEST or answer.code:
            return AccessDenied(f"{what}: access denied")
        case Cure.RETRY | Cure.SLOW_DOWN:
            return Unavailable(f"{what}: {answer}")
    return S3Error(f"{what}: {_words(answer)}")


def _failure(error: Exception, what: str) -> S3Error:
    """Our exception for whatever else came out of a request.

    An error that is not of the network comes from a library that met an unforeseen response.
    """
    if isinstance(error, S3Error):
        return type(error)(f"{what}: {error}")
    if isinstance(error, FAILURES):
        return Unavailable(f"{what}: {type(error).__name__}")
    return BadAnswer(f"{what}: the server's answer makes no sense ({type(error).__name__})")


def _words(answer: ErrorAnswer) -> str:
    if answer.is_redirect:
        return (
            "the server sends its clients to another address, which is not followed: check the"
            " S3 endpoint, and whether a proxy asks for a login"
        )
    return _BROKEN_WORDS.get(answer.code, str(answer))


def _skew(server_time: str | None) -> str:
    advice = "set this machine's clock (for instance: timedatectl set-ntp true)"
    try:
        theirs = nanoseconds(datetime.fromisoformat(server_time or "")) / 1e9
    except (ValueError, OverflowError):
        return f"this machine's clock differs too much from the S3 server's: {advice}"
    ahead = datetime.now(UTC).timestamp() - theirs
    direction = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {abs(ahead):.0f} s {direction} the S3 server's: {advice}"
