"""Checks common to all routes, in the order of the real services."""

from __future__ import annotations

import email.message
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fastapi import FastAPI, HTTPException, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic.v1 import BaseModel, ValidationError
from pydantic.v1.error_wrappers import ErrorWrapper
from pydantic.v1.errors import MissingError

from provenafs.sandbox.errors import Crash
from provenafs.sandbox.kinds import RealmRole
from provenafs.sandbox.tokens import InvalidToken, Tokens
from provenafs.sandbox.users import User

if TYPE_CHECKING:
    from provenafs.sandbox.services import Services

Query = TypeVar("Query", bound=BaseModel)
Body = TypeVar("Body", bound=BaseModel)


class Nothing(BaseModel):
    """The query or body of a route that has none."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Query, Body]):
    """One request that passed every general check."""

    services: Services
    user: User
    query: Query
    body: Body


class _Invalid(Exception):
    """Input that a model refused; answered 422."""

    def __init__(self, errors: list[ErrorWrapper]) -> None:
        super().__init__("invalid input")
        self.entries = ValidationError(errors, Nothing).errors()


Handler = Callable[[Call[Query, Body]], Awaitable[Any]]
Endpoint = Callable[[Request], Awaitable[Response]]


def checked(
    roles: tuple[RealmRole, ...],
    *,
    query: type[Query] = Nothing,  # type: ignore[assignment]
    body: type[Body] = Nothing,  # type: ignore[assignment]
    email_needed: bool = False,
) -> Callable[[Handler[Query, Body]], Endpoint]:
    """A route's handler, run only after JSON syntax, token, roles and models were found good."""

    def decorated(handler: Handler[Query, Body]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            services: Services = request.app.state.services
            raw_body = None if body is Nothing else await _parsed_body(request)
            user = authenticate(services.tokens, request, roles)
            if email_needed and user.email is None:
                raise Crash
            errors: list[ErrorWrapper] = []
            valid_query = _validated(query, dict(request.query_params), "query", errors)
            valid_body = _validated(body, {} if body is Nothing else raw_body, "body", errors)
            if valid_query is None or valid_body is None:
                raise _Invalid(errors)
            return reply(await handler(Call(services, user, valid_query, valid_body)))

        endpoint.__name__ = getattr(handler, "__name__", "endpoint")
        endpoint.__doc__ = handler.__doc__
        return endpoint

    return decorated


def authenticate(tokens: Tokens, request: Request, roles: tuple[RealmRole, ...]) -> User:
    """The user of the request; 401 unless the token is valid and has all of `roles`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthenticated("Not authenticated")
    try:
        claims = tokens.verify(token)
    except InvalidToken as error:
        raise _unauthenticated("Could not validate credentials") from error
    if "realm_access" not in claims:
        raise _unauthenticated("Token had incorrect structure.")
    try:
        held = frozenset(claims["realm_access"]["roles"])
        user = User(claims["preferred_username"], claims.get("email"), held, token)
    except (KeyError, TypeError) as error:
        raise Crash from error
    if not held.issuperset(roles):
        raise _unauthenticated(
            "You are not authorised to access this resource as you don't have the correct role."
        )
    return user


def reply(content: Any) -> Response:
    """Any model or JSON value as a 200 with every null in it."""
    if isinstance(content, Response):
        return content
    if isinstance(content, BaseModel):
        return Response(content.json(), media_type="application/json")
    return JSONResponse(content)


def install_error_answers(app: FastAPI) -> None:
    """Answer invalid input and crashes as the real services do."""

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, _Invalid)
        return JSONResponse({"detail": jsonable_encoder(error.entries)}, 422)

    async def crash(_: Request, __: Exception) -> Response:
        return PlainTextResponse("Internal Server Error", 500)

    app.add_exception_handler(_Invalid, invalid)
    app.add_exception_handler(Crash, crash)


def _unauthenticated(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


async def _parsed_body(request: Request) -> Any:
    """The JSON of the body, or its bytes where its content type is another, or None."""
    data = await request.body()
    if not data:
        return None
    if not _is_json(request.headers.get("content-type")):
        return data
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise _Invalid([ErrorWrapper(error, ("body", error.pos))]) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "There was an error parsing the body") from error


def _is_json(content_type: str | None) -> bool:
    if not content_type:
        return True
    message = email.message.Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )


Model = TypeVar("Model", bound=BaseModel)


def _validated(
    model: type[Model], value: Any, place: str, errors: list[ErrorWrapper]
) -> Model | None:
    if value is None:
        errors.append(ErrorWrapper(MissingError(), (place,)))
        return None
    try:
        return model.validate(value)
    except (TypeError, ValueError) as error:
        errors.append(ErrorWrapper(error, (place,)))
        return None
