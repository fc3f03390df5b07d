"""Citation and crate of a dataset: valid by their standards, whatever the record says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenafs.catalog.citation import citation_cff
from provenafs.catalog.crate import ro_crate_metadata
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.documents import record_json
from provenafs.provena.records import DatasetRecord
from tests.support.paper_rules import check_cff, check_crate

HANDLE = "10378.1/1000010"
URL = f"https://hdl.handle.net/{HANDLE}"
ITEM: dict[str, Any] = {
    "id": HANDLE,
    "owner_username": "alice",
    "created_timestamp": 1717000000,
    "updated_timestamp": 1717000000,
    "display_name": "Reef temps 2023",
    "versioning_info": {"version": 2},
    "s3": {"bucket_name": "bucket", "path": "datasets/10378-1-1000010/"},
    "release_status": "NOT_RELEASED",
    "collection_format": {
        "associations": {
            "organisation_id": "10378.1/1000001",
            "data_custodian_id": "10378.1/1000002",
            "point_of_contact": "Ask data@example.org first",
        },
        "approvals": {},
        "dataset_info": {
            "name": "Reef temps 2023",
            "description": "Hourly loggers: 40 sites",
            "access_info": {"reposited": True},
            "publisher_id": "10378.1/1000003",
            "created_date": {"relevant": True, "value": "2023-11-01"},
            "published_date": {"relevant": True, "value": "2023-12-01"},
            "license": "https://creativecommons.org/licenses/by/4.0/",
            "preferred_citation": "Example Org (2023)",
            "keywords": ["temperature", "reef"],
            "formats": ["csv", "nc"],
            "spatial_info": {"coverage": "SRID=4326;POINT (147 -19)"},
            "temporal_info": {"duration": {"begin_date": "2023-01-01", "end_date": "2023-10-31"}},
        },
    },
}

# Words as a person may enter them, and as no person would.
_ODD = (
    "", " ", "..", "a: b # c", "- [x] {y}", "'\"\\", "null", "yes", "1e3", "2024-01-01",
    "two\nlines\r\n", "tab\there", "\x00\x07\x7f", "\x85\u2028\u2029\ufeff", "\U0001f420 fish",
    "\U000e0001", "\ud800", "\uffff", "CO₂/temperature", "x" * 5000,
    "https://example.org/ä b?<c>", "https://example.org/x", "ftp://example.org", "a@b.cd",
)  # fmt: skip
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(_ODD),
    st.text(),
    st.lists(st.one_of(st.none(), st.sampled_from(_ODD), st.text()), max_size=4),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def dataset(item: dict[str, Any]) -> Dataset:
    """A dataset with this record."""
    return Dataset(DatasetRecord.from_item(item), frozenset(), False, 0.0)


def changed(**info: Any) -> Dataset:
    """The dataset with other fields of dataset_info."""
    item = copy.deepcopy(ITEM)
    item["collection_format"]["dataset_info"] |= info
    return dataset(item)


def _fields(item: dict[str, Any]) -> list[tuple[str, ...]]:
    """The way to every value below collection_format."""
    found: list[tuple[str, ...]] = []
    pending: list[tuple[str, ...]] = [("collection_format",)]
    while pending:
        way = pending.pop()
        found.append(way)
        value: Any = item
        for name in way:
            value = value[name]
        if isinstance(value, dict):
            pending += [(*way, name) for name in value]
    return found


@st.composite
def records(draw: st.DrawFn) -> Dataset:
    """Records with some values replaced by odd ones."""
    item = copy.deepcopy(ITEM)
    item["display_name"] = draw(st.sampled_from(_ODD))
    item["owner_username"] = draw(st.sampled_from(_ODD))
    item["release_status"] = draw(st.sampled_from(["NOT_RELEASED", "RELEASED", None]))
    item["release_timestamp"] = draw(st.sampled_from([None, 0, 1717000000, 10**18, -(10**18)]))
    for way in draw(st.lists(st.sampled_from(_fields(ITEM)), max_size=8)):
        holder: Any = item
        for name in way[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder[way[-1]] = draw(_VALUES)
    return dataset(item)


def test_a_citation_says_what_the_record_says() -> None:
    assert check_cff(citation_cff(dataset(ITEM)), URL) == {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite it as: Example Org (2023)",
        "type": "dataset",
        "title": "Reef temps 2023",
        "abstract": "Hourly loggers: 40 sites",
        "authors": [
            {"name": "10378.1/1000001", "website": "https://hdl.handle.net/10378.1/1000001"}
        ],
        "contact": [
            {
                "alias": "Ask data@example.org first",
                "email": "data@example.org",
                "website": "https://hdl.handle.net/10378.1/1000002",
            }
        ],
        "version": "2",
        "date-released": "2023-12-01",
        "identifiers": [{"type": "url", "value": URL, "description": "The dataset's handle."}],
        "url": URL,
        "license": "CC-BY-4.0",
        "keywords": ["temperature", "reef"],
    }


def test_a_crate_says_what_the_record_says() -> None:
    entities = check_crate(ro_crate_metadata(dataset(ITEM)), URL)
    root = entities[URL]
    assert root["name"] == "Reef temps 2023"
    assert root["datePublished"] == "2023-12-01"
    assert root["temporalCoverage"] == "2023-01-01/2023-10-31"
    assert root["keywords"] == "temperature, reef"
    assert entities[root["license"]["@id"]]["name"] == "CC-BY-4.0"
    assert entities[root["identifier"]["@id"]]["value"] == HANDLE
    assert entities[root["author"]["@id"]]["contactPoint"] == {"@id": "#contact"}
    assert entities[root["publisher"]["@id"]]["name"] == "10378.1/1000003"
    assert entities[root["maintainer"]["@id"]]["@type"] == "Person"
    assert entities[root["contentLocation"]["@id"]]["name"] == "SRID=4326;POINT (147 -19)"


@pytest.mark.parametrize(
    ("address", "spdx"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://www.creativecommons.org/licenses/by-nc-sa/3.0", "CC-BY-NC-SA-3.0"),
        ("https://creativecommons.org/licenses/by-nd/4.0/legalcode", "CC-BY-ND-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/licenses/by/3.0/au/", None),
        ("https://example.org/licence", None),
    ],
)
def test_licences(address: str, spdx: str | None) -> None:
    document = check_cff(citation_cff(changed(license=address)), URL)
    assert document.get("license") == spdx
    assert document.get("license-url") == (None if spdx else address)
    entities = check_crate(ro_crate_metadata(changed(license=address)), URL)
    assert entities[URL]["license"] == {"@id": address}


def test_dates_and_holders() -> None:
    assert "date-released" not in check_cff(citation_cff(changed(published_date={})), URL)
    released = ITEM | {"release_status": "RELEASED", "release_timestamp": 1717000000}
    released["collection_format"] = {"dataset_info": {"rights_holder": "Example Org"}}
    document = check_cff(citation_cff(dataset(released)), URL)
    assert document["date-released"] == "2024-05-29"
    assert document["authors"] == [{"name": "Example Org"}]


def test_a_record_that_says_nothing() -> None:
    item = ITEM | {"collection_format": None, "display_name": ""}
    assert check_cff(citation_cff(dataset(item)), URL)["title"] == HANDLE
    assert check_cff(citation_cff(dataset(item)), URL)["authors"] == [{"alias": "alice"}]
    root = check_crate(ro_crate_metadata(dataset(item)), URL)[URL]
    assert root["name"] == root["description"] == HANDLE
    assert root["datePublished"] == "2024-05-29"


def test_one_address_for_several_things() -> None:
    item = copy.deepcopy(ITEM)
    item["collection_format"]["associations"] |= {
        "organisation_id": HANDLE,
        "data_custodian_id": HANDLE,
    }
    item["collection_format"]["dataset_info"] |= {"license": URL, "publisher_id": HANDLE}
    graph = json.loads(ro_crate_metadata(dataset(item)))["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    check_cff(citation_cff(dataset(item)), URL)


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(records())
def test_odd_records_give_valid_documents(odd: Dataset) -> None:
    for make, check in ((citation_cff, check_cff), (ro_crate_metadata, check_crate)):
        content = make(odd)
        check(content, URL)
        again = DatasetRecord.from_item(copy.deepcopy(odd.record.raw))
        assert make(dataset(again.raw)) == content
    json.loads(record_json(odd))


@pytest.mark.parametrize("words", _ODD)
def test_odd_words_come_back(words: str) -> None:
    content = citation_cff(changed(name=words))
    title = words.encode("utf-8", "replace").decode().strip() or "Reef temps 2023"
    assert yaml.safe_load(content.decode())["title"] == title
