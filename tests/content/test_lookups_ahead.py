"""Which look-ups are taken for a walk through many directories."""

from __future__ import annotations

import pytest

from provenafs.content.listing.list_ahead import LookupDetector


def steps(detector: LookupDetector, *prefixes: str) -> list[str | None]:
    return [detector.step(prefix, float(now) / 10) for now, prefix in enumerate(prefixes)]


def test_the_chunks_of_an_array_are_a_walk_in_any_order() -> None:
    found = steps(
        LookupDetector(), "d/z/c/47/", "d/z/c/47/0/", "d/z/c/3/", "d/z/c/3/0/", "d/z/c/9/"
    )
    assert found == [None, None, None, None, "d/z/c/"]


@pytest.mark.parametrize(
    "prefixes",
    [
        ["d/a/", "d/a/b/", "d/a/b/c/", "d/a/b/c/e/"],  # one deep path
        ["d/a/", "d/a/", "d/a/", "d/b/"],
    ],
)
def test_a_path_and_one_directory_are_none(prefixes: list[str]) -> None:
    assert not any(steps(LookupDetector(), *prefixes))


def test_look_ups_now_and_then_are_none() -> None:
    detector = LookupDetector()
    assert not any(detector.step(f"d/{number}/", 2.0 * number) for number in range(10))
