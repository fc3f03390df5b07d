"""Rows that cannot be shown are told in words, once; the others are listed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provenafs.catalog.catalog import Catalog
from provenafs.content.listing.index import Index
from provenafs.provena.client import Provena
from provenafs.provena.records import DatasetRecord, records_of


def row(handle: str, **more: Any) -> dict[str, Any]:
    location = {"bucket_name": "bucket", "path": "datasets/x/"}
    times = {"created_timestamp": 1, "updated_timestamp": 2}
    return {"id": handle, "s3": location, **times, **more}


class Rows:
    """A data store that lists these rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    async def list_all(self, left_out: Callable[[str], None]) -> AsyncIterator[DatasetRecord]:
        for record in records_of(self.rows, left_out):
            yield record


async def test_what_is_left_out_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Rows()
    provena = cast(Provena, SimpleNamespace(datastore=store))
    catalog = Catalog(provena, Index(None).database, ttl=0)
    store.rows = [row("10378.1/1"), row(""), row("10378.1/2", s3=None), row("10378.1/3")]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            shown = [summary.handle for summary in await catalog.datasets()]
    assert shown == ["10378.1/1", "10378.1/3"]
    assert len(catalog.left_out) == 2
    assert caplog.text.count("left out of the list") == 2
    store.rows = [row("10378.1/1"), row("10378.1/2")]
    await catalog.datasets()
    assert catalog.left_out == ()


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"display_name": None}, "10378.1/1"),
        ({"display_name": 3}, "10378.1/1"),
        ({"display_name": "\ud800"}, "?"),
        ({"owner_username": [], "display_name": "n"}, "n"),
        ({"created_timestamp": 10**30, "display_name": "n"}, "n"),
        ({"updated_timestamp": -(10**300), "display_name": "n"}, "n"),
    ],
)
async def test_a_row_is_shown_as_far_as_it_can_be(more: dict[str, Any], shown: str) -> None:
    store = Rows()
    store.rows = [row("10378.1/1", **more)]
    provena = cast(Provena, SimpleNamespace(datastore=store))
    catalog = Catalog(provena, Index(None).database, ttl=0)
    (summary,) = await catalog.datasets()
    assert summary.display_name == shown


@pytest.mark.parametrize(
    "more",
    [
        {"id": "x" * 201},
        {"id": 5},
        {"updated_timestamp": "yesterday"},
        {"s3": {"bucket_name": "a/b", "path": "p/"}},
        {"s3": {"bucket_name": "bucket", "path": ""}},
        {"s3": {"bucket_name": "bucket", "path": "/"}},
        {"s3": {"bucket_name": "bucket", "path": "no slash"}},
        {"s3": {"bucket_name": "bucket", "path": "\ud800/"}},
    ],
)
async def test_a_row_of_no_use_hides_no_other(more: dict[str, Any]) -> None:
    store = Rows()
    store.rows = [row("10378.1/1"), row("10378.1/2") | more, row("10378.1/3")]
    provena = cast(Provena, SimpleNamespace(datastore=store))
    catalog = Catalog(provena, Index(None).database, ttl=0)
    assert [one.handle for one in await catalog.datasets()] == ["10378.1/1", "10378.1/3"]
    assert len(catalog.left_out) == 1
