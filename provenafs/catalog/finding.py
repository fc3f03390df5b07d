"""Search, and health checks of the services."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import trio

from provenafs.provena.client import Provena
from provenafs.provena.errors import (
    Invalid,
    LoginRequired,
    NotFound,
    ProvenaError,
    Unauthorised,
    Unavailable,
)
from provenafs.provena.reading import text_or_none

# Each costs the service three Lambdas.
_CONCURRENT_FETCHES = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset that matches; `name` is None if this user may not see it."""

    handle: str
    score: float
    name: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """The result of one health check."""

    service: str
    well: bool
    message: str


async def find(provena: Provena, query: str, limit: int) -> list[Found]:
    """Datasets that match words, best first, with their names. Raises any ProvenaError."""
    hits = await provena.search.datasets(query, limit)
    names: dict[str, str] = {}
    limiter = trio.CapacityLimiter(_CONCURRENT_FETCHES)

    async def name(handle: str) -> None:
        async with limiter:
            try:
                names[handle] = (await provena.datastore.fetch(handle)).record.display_name
            except LoginRequired:
                raise
            except (NotFound, Unauthorised):
                return  # The search does not look at access, nor at what is gone.

    async with trio.open_nursery() as nursery:
        for handle in {hit.id for hit in hits}:
            nursery.start_soon(name, handle)
    return [Found(hit.id, hit.score, names.get(hit.id)) for hit in hits]


async def display_names(provena: Provena, handles: Iterable[str]) -> dict[str, str]:
    """The names of items of the registry, such as people; without those that cannot be fetched."""
    names: dict[str, str] = {}

    async def look_up(handle: str) -> None:
        with contextlib.suppress(NotFound, Unauthorised, Invalid, Unavailable):
            name = text_or_none((await provena.registry.item(handle)).get("display_name"))
            if name:
                names[handle] = name

    async with trio.open_nursery() as nursery:
        for handle in set(handles):
            nursery.start_soon(look_up, handle)
    return names


async def health(provena: Provena) -> list[Health]:
    """Health of each configured service, checked in parallel."""
    answers: dict[str, Health] = {}

    async def ask(name: str, question: Callable[[], Awaitable[str]]) -> None:
        try:
            answers[name] = Health(name, True, await question())
        except ProvenaError as error:
            answers[name] = Health(name, False, str(error))

    async def login() -> str:
        await provena.realm.check()
        return "The realm answers."

    questions = {"the login service": login}
    questions |= {service.name: service.health for service in provena.services}
    async with trio.open_nursery() as nursery:
        for name, question in questions.items():
            nursery.start_soon(ask, name, question)
    return [answers[name] for name in questions]
