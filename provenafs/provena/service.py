"""A call to a service on behalf of the user, and the interpretation of its response."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from provenafs.provena.auth import TokenSource
from provenafs.provena.errors import (
    UNUSABLE,
    Invalid,
    Locked,
    LoginRequired,
    NotFound,
    ProvenaError,
    Unauthorised,
    Unavailable,
)
from provenafs.provena.pages import Page, PageKey
from provenafs.provena.transport import Reply, Request, Transport, filtered, one_line

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)

_CHALLENGES = ("WWW-Authenticate", "x-amzn-Remapped-WWW-Authenticate")
_TOKEN_REFUSED = ("Not authenticated", "Could not validate credentials", "incorrect structure")
_LOCKED = re.compile(r"\blocked\b", re.IGNORECASE)
_UNKNOWN_DATASET = ("during dataset fetching", "Empty string received")
_REALM_ROLE = "correct role"
_SECRET = re.compile(r"[!-~]{1,16384}")


class ServiceClient:
    """A Provena API. `name` is how messages call it."""

    def __init__(self, name: str, url: str, transport: Transport, tokens: TokenSource) -> None:
        self._name = name
        self._url = url
        self._transport = transport
        self._tokens = tokens

    @property
    def name(self) -> str:
        """How messages call this service."""
        return self._name

    async def health(self) -> str:
        """The service's response to a health check; needs no login."""
        reply = await self._transport.send(Request("GET", f"{self._url}/", self._name))
        return one_line(str(self._document(reply).get("message") or ""))

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | bool] | None = None,
        json: Any = None,
        idempotent: bool = True,
        attempts: int = 5,
        errors: Mapping[int, type[ProvenaError]] | None = None,
    ) -> Any:
        """The JSON of the answer. A refused token is renewed and the call made once more.

        `errors` overrides the usual meaning of a status for this call. Raises any ProvenaError.
        """
        request = Request(
            method, self._url + path, self._name, idempotent, params, json, attempts=attempts
        )
        token = await self._tokens.token()
        reply = await self._transport.send(request, token)
        if _refuses_token(reply):
            reply = await self._transport.send(request, await self._tokens.renew(token))
        if reply.status == 200 and reply.is_json:
            return reply.document
        raise self._error(reply, errors or {})

    def parsed(self, model: type[Model], document: object) -> Model:
        """The answer as a model; Unavailable if it is of another form."""
        try:
            return model.model_validate(document)
        except ValidationError as error:
            # Without its cause: pydantic's text quotes the values.
            raise self.unknown_form(_place(error)) from None

    def rows(self, model: type[Model], rows: object) -> Iterator[Model]:
        """The rows of an answer as models; those of another form are left out, with a warning."""
        for row in rows if isinstance(rows, list) else []:
            try:
                yield model.model_validate(row)
            except ValidationError as error:
                log.warning(
                    "%s returned a row of unknown form, which is left out ('%s')",
                    self._name,
                    _place(error),
                )

    def object_in(self, document: object) -> dict[str, Any]:
        """The answer, which has to be an object."""
        if not isinstance(document, dict):
            raise self.unknown_form()
        return document

    def succeeded(self, document: object, error: type[ProvenaError] = Invalid) -> dict[str, Any]:
        """The response; raises `error` if its status is a failure."""
        answer = self.object_in(document)
        status = answer.get("status")
        if not isinstance(status, dict) or not isinstance(status.get("success"), bool):
            raise self.unknown_form("status")  # which denies nothing
        if not status["success"]:
            raise error(filtered(str(status.get("details") or f"{self._name} refused it")))
        return answer

    async def page(self, path: str, key: PageKey | None, size: int) -> Page:
        """One page of a list of datasets, oldest first."""
        body = {
            # By time of creation: a record updated meanwhile would change its place in the default
            # order, and be missed.
            "sort_by": {"sort_type": "CREATED_TIME", "ascending": True, "begins_with": None},
            "pagination_key": key,
            "page_size": size,
        }
        return self.page_of(await self.call("POST", path, json=body, attempts=2), "items")

    def page_of(self, document: object, member: str) -> Page:
        """The page in a response, even if its status reports rows left out."""
        if isinstance(document, dict):
            items, key = document.get(member), document.get("pagination_key")
            if isinstance(items, list) and (key is None or isinstance(key, dict)):
                return Page(items, key)
        raise Unavailable(f"{self._name} returned a page of unknown form", UNUSABLE)

    def secret(self, name: str, value: object) -> str:
        """A key or link in an answer: printable ASCII without blanks, as it is sent and printed."""
        if isinstance(value, str) and _SECRET.fullmatch(value):
            return value
        raise self.unknown_form(name)

    def unknown_form(self, place: str = "") -> Unavailable:
        """The failure of an answer that is not of the form it should be, `place` in it."""
        where = f" ('{place}')" if place else ""
        return Unavailable(f"{self._name} returned a response of unknown form{where}", UNUSABLE)

    def _document(self, reply: Reply) -> dict[str, Any]:
        if reply.status == 200 and isinstance(reply.document, dict):
            return reply.document
        raise self._error(reply, {})

    def _error(self, reply: Reply, errors: Mapping[int, type[ProvenaError]]) -> ProvenaError:
        detail = reply.detail
        if not reply.is_json or reply.status in (200, 404, 405):
            return Unavailable(
                f"{self._name} at {self._url} did not answer as a Provena service does"
                f" (HTTP status {reply.status}{'' if reply.is_json else ', no JSON'});"
                " is the address right?",
                reply.status,
            )
        if _refuses_token(reply):
            return LoginRequired(f"{self._name} does not accept the login: {detail}; log in again")
        if reply.status == 401 and _REALM_ROLE in detail:
            return Unauthorised(f"your user lacks a role that {self._name} asks for")
        if reply.status == 401 and _LOCKED.search(detail):
            return Locked(detail)
        if reply.status == 400 and any(words in detail for words in _UNKNOWN_DATASET):
            return NotFound(detail)
        usual = Unauthorised if reply.status in (401, 403) else Invalid
        kind = errors.get(reply.status, usual)
        return kind(detail or f"{self._name} refused the request (HTTP status {reply.status})")


def _place(error: ValidationError) -> str:
    return filtered(".".join(str(part) for part in error.errors()[0]["loc"][:10]))


def _refuses_token(reply: Reply) -> bool:
    """Whether another token might help, rather than the user lacking a role."""
    if reply.status != 401 or _REALM_ROLE in reply.detail:
        return False
    return any(name in reply.headers for name in _CHALLENGES) or any(
        words in reply.detail for words in _TOKEN_REFUSED
    )
