"""Handles and display names as file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenafs.tree.names import directory_name, escape, handle_of


@pytest.mark.parametrize("handle", ["10378.1/1451860", "102.100.100/12", "48213"])
def test_a_handle_comes_back_from_its_directory_name(handle: str) -> None:
    assert handle_of(directory_name(handle)) == handle


@pytest.mark.parametrize(
    "name",
    ["autorun.inf", ".Trash-0", ".git", "lost+found", "10378.1-", "-1", "10378.1-1451860.tmp", "1"],
)
def test_what_desktops_probe_for_is_no_handle(name: str) -> None:
    assert handle_of(name) is None


@pytest.mark.parametrize(
    ("display_name", "name"),
    [
        ("Reef temps 2023", "Reef temps 2023"),
        ("Ünïcode 珊瑚", "Ünïcode 珊瑚"),
        ("a/b", "a%2Fb"),
        ("two\nlines", "two%0Alines"),
        ("..", "%2E."),
        (".", "%2E"),
        (".hidden", "%2Ehidden"),
        ("100% sure", "100% sure"),
        ("%2F", "%252F"),
    ],
)
def test_display_names_are_escaped_where_they_must(display_name: str, name: str) -> None:
    assert escape(display_name) == name


@given(st.text(min_size=1, max_size=400), st.sampled_from(["", " [10378.1-1451860]"]))
def test_every_display_name_fits_a_directory(display_name: str, suffix: str) -> None:
    name = escape(display_name, suffix)
    assert 0 < len(name.encode()) <= 255
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")
    assert name.endswith(suffix)
