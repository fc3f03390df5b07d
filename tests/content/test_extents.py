"""Extents against a plain set of integers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from provenafs.content.staging.ranges import Ranges

_POSITION = st.integers(0, 40)
_STEP = st.tuples(st.sampled_from(["add", "remove", "truncate"]), _POSITION, _POSITION)


@given(st.lists(_STEP, max_size=20), _POSITION, _POSITION)
def test_behaves_like_a_set_of_bytes(
    steps: list[tuple[str, int, int]], start: int, end: int
) -> None:
    extents, model = Ranges(), set[int]()
    for name, left, right in steps:
        if name == "add":
            extents.add(left, right)
            model |= set(range(left, right))
        elif name == "remove":
            extents.remove(left, right)
            model -= set(range(left, right))
        else:
            extents.truncate(left)
            model = {byte for byte in model if byte < left}
        ranges = list(extents)
        assert {byte for piece in ranges for byte in range(*piece)} == model
        assert all(first[1] < second[0] for first, second in itertools.pairwise(ranges))
    window = set(range(start, end))
    assert {
        byte for piece in extents.within(start, end) for byte in range(*piece)
    } == model & window
    assert {byte for piece in extents.gaps(start, end) for byte in range(*piece)} == window - model
    assert extents.covers(start, end) == (window <= model)
    assert extents.touches(start, end) == bool(window & model)
    assert extents.total == len(model)
    assert extents.end == max(model, default=-1) + 1
    assert Ranges(extents) == extents == extents.copy()
