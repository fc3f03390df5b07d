"""Which names stay on this machine until they are renamed."""

from __future__ import annotations

import pytest

from provenafs.content.volume import is_scratch


@pytest.mark.parametrize(
    "name", [".notes.swp", ".notes.swpx", "4913", "notes~", ".#notes", "sedA1b2c3"]
)
def test_names_that_editors_make(name: str) -> None:
    assert is_scratch(name)


@pytest.mark.parametrize(
    "name", ["sediments", "sediment1", "sed01.csv", "sedX", "49130", "swp", "notes", "~notes"]
)
def test_names_that_people_give(name: str) -> None:
    assert not is_scratch(name)
