"""Listing datasets to the end whatever single pages are like."""

from __future__ import annotations

import itertools
import logging

import pytest

from provenafs.provena import pages
from provenafs.provena.client import Provena
from provenafs.provena.errors import Unauthorised, Unavailable
from tests.support.loopback import Answer, Loopback, Seen
from tests.support.provena_answers import LIST, REGISTRY_LIST, item, page

REVIEWS = "/registry/registry/entity/dataset/user/releases"


async def listed(provena: Provena) -> list[str]:
    return [record.id.rpartition("/")[2] async for record in provena.datastore.list_all()]


async def test_short_and_empty_pages_do_not_end_the_list(
    server: Loopback, provena: Provena
) -> None:
    keys = [{"id": str(number)} for number in range(3)]
    server.on(LIST, page([item(1)], keys[0]), page([], keys[1]), page([item(2)], keys[2]), page([]))
    assert await listed(provena) == ["1", "2"]
    assert [seen.json["pagination_key"] for seen in server.seen] == [None, *keys]
    assert {seen.json["sort_by"]["sort_type"] for seen in server.seen} == {"CREATED_TIME"}


async def test_a_page_too_big_for_the_gateway_is_asked_for_in_pieces(
    server: Loopback, provena: Provena
) -> None:
    def too_big(seen: Seen) -> Answer:
        if seen.json["page_size"] > 10:
            return Answer(502, {"message": "Internal server error"})
        return page([item(1)])

    server.on(LIST, too_big)
    assert await listed(provena) == ["1"]


async def test_a_gateway_that_always_fails_ends_the_list(
    server: Loopback, provena: Provena
) -> None:
    server.on(LIST, Answer(504, {"message": "Endpoint request timed out"}))
    with pytest.raises(Unavailable):
        await listed(provena)


@pytest.mark.parametrize(
    "bad",
    [
        Answer(400, {"detail": "The registry API responded with status success False."}),
        Answer(200, b"garbage"),
        Answer(200, {"status": {}, "items": 3, "pagination_key": None}),
        Answer(200, {"status": {}, "items": [], "pagination_key": "text"}),
    ],
)
async def test_a_page_that_cannot_be_parsed_hides_no_other(
    server: Loopback, provena: Provena, bad: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = {"id": "1"}, {"id": "2"}
    server.on(LIST, page([item(1)], first), bad, page([item(3)]))
    failed = {"success": False, "details": "one row is not parsable"}
    rows = {"status": failed, "items": [item(2)], "unparsable_items": [{}]}
    server.on(REGISTRY_LIST, Answer(body={**rows, "pagination_key": second}))
    with caplog.at_level(logging.WARNING):
        assert await listed(provena) == ["1", "2", "3"]
    assert "read from the registry instead" in caplog.text
    assert [s.json["pagination_key"] for s in server.seen if s.path == REGISTRY_LIST] == [first]


async def test_a_row_of_no_use_is_left_out_and_told(
    server: Loopback, provena: Provena, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["text", {}, item(1, id=None), item(2, s3=None), item(3, updated_timestamp="x")]
    server.on(LIST, page([*rows, item(4)]))
    with caplog.at_level(logging.WARNING):
        assert await listed(provena) == ["4"]
    assert caplog.text.count("left out of the list") == len(rows)


async def test_what_the_models_refuse_is_shown_as_stored(
    server: Loopback, provena: Provena
) -> None:
    odd = item(
        5, versioning_info=[], history=[3, {"id": "x"}, {"id": 0}], release_history="?", extra=1
    )
    odd["collection_format"]["dataset_info"]["license"] = "https://example.org"
    server.on(LIST, page([odd]))
    (record,) = [record async for record in provena.datastore.list_all()]
    assert record.raw == odd
    assert record.collection_format["dataset_info"]["license"] == "https://example.org"
    assert (record.version, record.next_version, record.release_history) == (1, None, ())
    assert [entry.id for entry in record.history] == [0]


async def test_a_list_that_does_not_end_is_ended(server: Loopback, provena: Provena) -> None:
    server.on(LIST, page([item(1)], {"id": "1"}))
    with pytest.raises(Unavailable, match="does not end"):
        await listed(provena)


async def test_a_user_without_a_role_may_not_list(server: Loopback, provena: Provena) -> None:
    server.on(LIST, Answer(401, {"detail": "No."}))
    with pytest.raises(Unauthorised):
        await listed(provena)


@pytest.mark.parametrize("length", [1, 2, 7])
async def test_keys_that_come_again_end_the_list(
    server: Loopback, provena: Provena, length: int
) -> None:
    keys = [{"id": str(number)} for number in range(length)]
    server.on(LIST, *[page([item(n + 1)], keys[n]) for n in range(length)] * 2, page([], keys[0]))
    with pytest.raises(Unavailable, match="does not end: a page names one that has been read"):
        await listed(provena)
    assert server.count(LIST) == length + 1


async def test_new_keys_without_news_end_the_list(
    server: Loopback, provena: Provena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_WITHOUT_NEWS", 5)
    numbers = itertools.count()
    server.on(LIST, lambda _: page([item(1)], {"id": str(next(numbers))}))
    with pytest.raises(Unavailable, match="does not end: 5 pages have shown nothing new"):
        await listed(provena)
    assert server.count(LIST) == 6


async def test_new_rows_without_an_end_end_the_list(
    server: Loopback, provena: Provena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_PAGES", 5)
    numbers = itertools.count(1)
    server.on(LIST, lambda _: page([item(next(numbers))], {"id": str(next(numbers))}))
    with pytest.raises(Unavailable, match="does not end: it has more than 5 pages"):
        await listed(provena)


async def test_pages_of_hidden_rows_are_no_end(server: Loopback, provena: Provena) -> None:
    keys = [{"id": str(number)} for number in range(20)]
    server.on(LIST, *[page([], key) for key in keys], page([item(1)]))
    assert await listed(provena) == ["1"]


async def test_reviews_that_do_not_end_are_ended(server: Loopback, provena: Provena) -> None:
    server.on(REVIEWS, Answer(body={"dataset_items": [item(1)], "pagination_key": {"id": "1"}}))
    with pytest.raises(Unavailable, match="does not end"):
        [record async for record in provena.registry.reviews("p")]


async def test_an_odd_row_hides_no_other_of_the_reviews(
    server: Loopback, provena: Provena, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["text", item(1, id=""), item(2)]
    server.on(REVIEWS, Answer(body={"dataset_items": rows, "pagination_key": None}))
    with caplog.at_level(logging.WARNING):
        assert [record.id async for record in provena.registry.reviews("p")] == ["10378.1/2"]
    assert caplog.text.count("left out of the list of reviews") == 2
