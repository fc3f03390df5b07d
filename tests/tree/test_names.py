"""Handles and display names as file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenafs.provena.handles import has_name, is_usual
from provenafs.tree.names import directory_name, escape, handle_of

UUID = "12345678-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    ("handle", "name"),
    [
        ("10378.1/1451860", "10378.1-1451860"),
        ("102.100.100/12", "102.100.100-12"),
        ("48213", "48213"),
        ("10378.1/ABC123", "10378.1-ABC123"),
        ("10378.1/a/b-c", "10378.1-a%2Fb-c"),
        ("10378.1/", "10378.1%2F"),
        ("10378.1-1451860", "10378.1%2D1451860"),
        (UUID, "12345678%2De29b-41d4-a716-446655440000"),
        ("f" + UUID, "f" + UUID),
        (" ", "%20"),
        (".", "%2E"),
        ("..", "%2E."),
        (".provenafs", "%2Eprovenafs"),
        ("by-name", "%62y-name"),
        ("a\nb\0%41", "a%0Ab%00%2541"),
        ("Handle-Ü", "Handle-%C3%9C"),
    ],
)
def test_a_handle_comes_back_from_its_directory_name(handle: str, name: str) -> None:
    assert directory_name(handle) == name
    assert handle_of(name) == handle


@given(st.text(max_size=300))
def test_every_handle_has_one_name_or_none(handle: str) -> None:
    if not has_name(handle):
        return
    name = directory_name(handle)
    assert handle_of(name) == handle
    assert len(name) <= 200
    assert name.isascii()
    assert name.isprintable()
    assert not {"/", " "} & set(name)
    assert not name.startswith(".")
    assert name not in ("by-name", "mint", "search")


@given(st.text(max_size=300))
def test_every_name_stands_for_one_handle_or_none(name: str) -> None:
    handle = handle_of(name)
    assert handle is None or directory_name(handle) == name


@pytest.mark.parametrize("handle", ["", "x" * 201, "é" * 34, "\ud800"])
def test_what_can_be_no_name_has_none(handle: str) -> None:
    assert not has_name(handle)
    with pytest.raises(ValueError, match="cannot be a directory"):
        directory_name(handle)


@pytest.mark.parametrize(
    "name",
    ["autorun.inf", ".Trash-0", ".git", "lost+found", "10378.1-", "-1", "10378.1-1451860.tmp", "1"],
)
def test_what_desktops_probe_for_is_asked_of_nobody(name: str) -> None:
    handle = handle_of(name)
    assert handle is None or not is_usual(handle)


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
