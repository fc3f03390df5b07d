"""Sending one request to a service: a shared connection pool, retries, one deadline per call."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio

from provenafs import __version__
from provenafs.lib.backoff import Backoff
from provenafs.provena.errors import Invalid, TooLong, Unavailable
from provenafs.provena.reading import UnusableBody, body_within, parse_json

log = logging.getLogger(__name__)

# A cold start of several chained Lambdas takes up to 29 s, the API gateway's own ceiling.
_ATTEMPT_S = 35.0
_CONNECT_S = 10.0
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
# Bytes. A Lambda answers with 6 MB at most, a refusal with a few sentences.
_LONGEST_ANSWER = 8 * 1024**2
_LONGEST_REFUSAL = 256 * 1024
_NOT_LINKED = b"you must link"
_LINK_FIRST = "your user is not linked to a Person in the registry; link it on the Provena web site"
_LONGEST_SENTENCE = 500
# More than a sentence is never looked at, so that a long text costs no more than a short one.
_LONGEST_LOOK = 4 * _LONGEST_SENTENCE
# Each quantifier is possessive or bounded: the time is linear whatever the text.
_SECRET = re.compile(
    r"eyJ[\w-]{8}[\w.-]*+"  # a token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}+"  # an access key
    r"|(?<![\w/+=])[A-Za-z0-9/+=]{40,}+(?!\w)"  # a secret key
    r"|(?i:(?:signature|token|secret|password|session|key)\w{0,40}+['\"]?\s?[=:]\s?['\"]?)"
    r"[^\s'\"]{12,}+"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `service` is the receiver's name in messages; `idempotent` permits retries."""

    method: str
    url: str
    service: str
    idempotent: bool = True
    params: Mapping[str, str | int | bool] | None = None
    json: Any = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    attempts: int = _ATTEMPTS
    longest: int = _LONGEST_ANSWER
    """Bytes of an answer, decompressed, that are taken."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response below 500, not a redirect. `document` is its JSON, if `is_json`."""

    status: int
    headers: httpx.Headers = field(repr=False)
    document: Any = field(repr=False)
    is_json: bool

    @property
    def detail(self) -> str:
        """The message of an error response as one filtered sentence, or ''."""
        if not isinstance(self.document, dict):
            return ""
        for name in ("detail", "message", "error_description", "error"):
            value = self.document.get(name)
            if isinstance(value, list):
                return filtered("; ".join(_field_error(entry) for entry in value[:5]))
            if value:
                return filtered(str(value))
        return ""


class Transport:
    """The connections to the services of one instance."""

    def __init__(self, http: httpx.AsyncClient, timeout: float) -> None:
        """`timeout`: within how many seconds a call must succeed, retries included."""
        self._http = http
        self._timeout = timeout

    @classmethod
    @asynccontextmanager
    async def open(cls, timeout: float) -> AsyncIterator[Transport]:
        """A transport whose connections are closed on leaving."""
        async with httpx.AsyncClient(
            timeout=httpx.Timeout(_ATTEMPT_S, connect=_CONNECT_S, pool=None),
            headers={"User-Agent": f"provenafs/{__version__}", "Accept-Encoding": "gzip"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none is kept
            follow_redirects=False,  # the token is for the address that the user has named
            mounts=dict.fromkeys(_LOOPBACK),  # never through a proxy
        ) as http:
            yield cls(http, timeout)

    async def send(self, request: Request, token: str | None = None) -> Reply:
        """The service's answer, if its status is below 500 and not 429.

        Raises Unavailable when there is none in time, TooLong for one beyond the limit of the
        request, and Invalid for a request that cannot be put into words of HTTP.
        """
        failure = _Failure(f"did not answer within {self._timeout:g} s")
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        with trio.move_on_after(self._timeout):
            for attempt in range(request.attempts if request.idempotent else 1):
                if attempt:
                    await backoff.pause(at_least=failure.retry_after)
                outcome = await self._attempt(request, token)
                if isinstance(outcome, Reply):
                    return outcome
                failure = outcome
                log.debug("%s %s %s", request.service, request.url, failure.reason)
        # Without a cause: the exception may hold the request, and with it the token.
        raise Unavailable(
            f"{request.service} at {_origin(request.url)} {failure.reason}", failure.status
        )

    async def _attempt(self, request: Request, token: str | None) -> Reply | _Failure:
        try:
            response = await self._http.send(self._built(request, token), stream=True)
            try:
                longest = request.longest if response.status_code == 200 else _LONGEST_REFUSAL
                body = await body_within(response, longest)
            finally:
                await response.aclose()
        except httpx.ConnectTimeout:
            return _Failure("cannot be reached: no connection in time")
        except httpx.ConnectError as error:
            return _Failure(f"cannot be reached: {filtered(str(error)) or 'no connection'}")
        except httpx.TimeoutException:
            return _Failure("did not answer in time")
        except (httpx.HTTPError, UnusableBody):
            return _Failure("closed the connection in the middle of its response")
        return _outcome(request, response, body)

    def _built(self, request: Request, token: str | None) -> httpx.Request:
        try:
            return self._http.build_request(
                request.method,
                request.url,
                params=request.params,
                json=request.json,
                data=request.form,
                headers={} if token is None else {"Authorization": f"Bearer {token}"},
            )
        except httpx.InvalidURL:
            raise Unavailable(
                f"{request.service} cannot be asked: {_origin(request.url)} is not an address"
            ) from None
        except (ValueError, TypeError):
            # Without a cause: its text may quote what was to be sent.
            raise Invalid(f"the request to {request.service} contains invalid text") from None


def filtered(text: str) -> str:
    """A service's text as a part of a sentence: `one_line` without the full stop."""
    return one_line(text).rstrip(" .")


def one_line(text: str) -> str:
    """A service's text as one line, cut to a readable length, without what may be a credential."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:_LONGEST_LOOK]).split())
    is_cut = len(text) > _LONGEST_LOOK
    if is_cut:
        line = line.rpartition(" ")[0]  # half a credential reads like any word
    line = _SECRET.sub("…", line)
    return line[: _LONGEST_SENTENCE - 1] + "…" if is_cut or len(line) > _LONGEST_SENTENCE else line


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    status: int | None = None
    retry_after: float = 0.0


def _outcome(request: Request, response: httpx.Response, body: bytes | None) -> Reply | _Failure:
    """The outcome of a response; `body` is None if it exceeds the limit."""
    status = response.status_code
    if body is None and status == 200:
        raise TooLong(
            f"{request.service} at {_origin(request.url)} answered with more than"
            f" {request.longest // 1024} KiB, which is not taken"
        )
    if 300 <= status < 400:
        raise Unavailable(
            f"{request.service} at {_origin(request.url)} answered with a redirect to another"
            f" address (HTTP status {status}), which is not followed; is the address right?",
            status,
        )
    if status == 500 and _NOT_LINKED in (body or b""):
        # Nothing failed: the service wraps the registry's 400 into a 500 here.
        return Reply(400, response.headers, {"detail": _LINK_FIRST}, is_json=True)
    if status in _RETRIED_STATUS:
        return _failed(response)
    try:
        return Reply(status, response.headers, parse_json(body or b""), is_json=True)
    except ValueError:
        return Reply(status, response.headers, None, is_json=False)


def _failed(response: httpx.Response) -> _Failure:
    if response.status_code == 429:
        try:
            retry_after = float(response.headers.get("Retry-After", "0"))
        except ValueError:
            retry_after = 0.0
        return _Failure("answers that there are too many requests", 429, max(0.0, retry_after))
    # Never the body: it may quote working credentials.
    return _Failure(f"failed with HTTP status {response.status_code}", response.status_code)


def _field_error(entry: object) -> str:
    if not isinstance(entry, dict):
        return ""
    loc = entry.get("loc")
    parts = loc[:10] if isinstance(loc, list) else []
    place = ".".join(str(part) for part in parts if part != "body")
    words = str(entry.get("msg") or "not acceptable")
    return f"{place}: {words}" if place else words


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
