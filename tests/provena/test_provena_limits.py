"""Answers that are too long, too packed or from elsewhere: refused in words, within bounds."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from provenafs.provena.client import Provena
from provenafs.provena.errors import ProvenaError, TooLong, Unavailable
from tests.support.loopback import Answer, Loopback, Seen
from tests.support.provena_answers import (
    DEVICE,
    FETCH,
    HANDLE,
    LIST,
    MINT,
    REGISTRY_LIST,
    TOKEN,
    fetched,
    item,
    page,
    settings_for,
    token,
)

MIB = 1024**2
PACKED = {"Content-Encoding": "gzip"}
BOMB = gzip.compress(bytes(400 * MIB), 9)

Ask = Callable[[Provena], Awaitable[object]]


async def _first(provena: Provena) -> object:
    return [record async for record in provena.datastore.list_all()]


ASKED: dict[str, Ask] = {
    FETCH: lambda provena: provena.datastore.fetch(HANDLE),
    MINT: lambda provena: provena.datastore.mint({}),
    LIST: _first,
    "/data/": lambda provena: provena.datastore.health(),
    "/realm": lambda provena: provena.realm.check(),
    TOKEN: lambda provena: provena.realm.refresh("c", token()),
    DEVICE: lambda provena: provena.realm.begin_device_login("c", ""),
}


@pytest.fixture
def little_memory() -> Iterator[None]:
    """What a test holds at its most: less than 64 MiB."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * MIB


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, BOMB, PACKED),
        Answer(400, BOMB, PACKED),
        Answer(200, b"x" * MIB, endless=True),
        Answer(400, b"x" * MIB, endless=True),
        Answer(500, b"x" * MIB, endless=True),
    ],
    ids=["a bomb", "a bomb as refusal", "endless", "an endless refusal", "an endless failure"],
)
async def test_a_body_without_measure_is_a_plain_error(
    server: Loopback, provena: Provena, path: str, answer: Answer
) -> None:
    server.on(path, answer)
    server.on(REGISTRY_LIST, answer)
    with pytest.raises(ProvenaError) as caught:
        await ASKED[path](provena)
    assert "\n" not in str(caught.value)
    if answer.status == 200:
        assert isinstance(caught.value, TooLong)
        assert "KiB, which is not taken" in str(caught.value)


async def test_a_packed_answer_is_read(server: Loopback, provena: Provena) -> None:
    server.on(FETCH, Answer(200, gzip.compress(fetched().content), PACKED))
    assert (await provena.datastore.fetch(HANDLE)).record.id == HANDLE


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, gzip.compress(fetched().content)[:-20], PACKED),
        Answer(200, b"no gzip at all", PACKED),
        Answer(200, b"x", {"Content-Encoding": "br"}),
        Answer(200, gzip.compress(gzip.compress(b"{}")), {"Content-Encoding": "gzip, gzip"}),
    ],
)
async def test_an_answer_that_cannot_be_unpacked_is_none(
    server: Loopback, provena: Provena, answer: Answer
) -> None:
    server.on(FETCH, answer)
    with pytest.raises(Unavailable, match="closed the connection in the middle"):
        await provena.datastore.fetch(HANDLE)


async def test_a_long_page_is_asked_for_in_pieces(server: Loopback, provena: Provena) -> None:
    def rows(seen: Seen) -> Answer:
        return page([item(n, padding="x" * 100_000) for n in range(1, seen.json["page_size"] + 1)])

    server.on(LIST, rows)
    assert len([record async for record in provena.datastore.list_all()]) == 25


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    server: Loopback, provena: Provena, path: str, status: int
) -> None:
    body = json.dumps({"access_token": token(), "public_key": "A", "message": "m"}).encode()
    server.on(path, Answer(status, body, {"Location": f"{server.url}/elsewhere"}))
    with pytest.raises(Unavailable, match=r"redirect to another address.*not followed"):
        await ASKED[path](provena)
    assert server.count("/elsewhere") == 0
    assert server.count(path) == 1


async def test_no_cookie_is_kept(server: Loopback, tmp_path: Path) -> None:
    server.on("/data/", Answer(200, {"message": "m"}, {"Set-Cookie": "a=b"}))
    async with Provena.connect(settings_for(server, tmp_path, token="given")) as provena:
        await provena.datastore.health()
        assert not provena.datastore._transport._http.cookies
