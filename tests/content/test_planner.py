"""Plans keep to S3's limits and move no more than they have to."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from provenafs.content.staging.ranges import Ranges
from provenafs.content.staging.write_buffer import BLOCK
from provenafs.content.writing.upload_plan import (
    MAX_PARTS,
    MIB,
    MIN_PART,
    SINGLE_PUT,
    Part,
    PartOrigin,
    part_range,
    plan,
)
from provenafs.s3.types import MAX_OBJECT

GIB = 1024 * MIB
_MAX_PART = 5 * GIB

# Positions near each other and near the limits are where mistakes are.
_SIZE = st.one_of(
    st.integers(0, 64 * MIB),
    st.integers(0, 64).map(lambda count: count * MIN_PART),
    st.integers(0, MAX_OBJECT),
)
_RUN = st.tuples(_SIZE, st.one_of(st.integers(1, 20 * MIB), st.integers(1, GIB)))


@given(_SIZE, _SIZE, st.lists(_RUN, max_size=12))
@example(size=MAX_OBJECT, base_size=MAX_OBJECT - 1, runs=[])
@example(size=MAX_OBJECT, base_size=0, runs=[])
@example(size=MAX_OBJECT, base_size=MAX_OBJECT, runs=[(0, 1)])
def test_plans_are_right_and_within_the_limits(
    size: int, base_size: int, runs: list[tuple[int, int]]
) -> None:
    dirty = Ranges((start, start + length) for start, length in runs)
    parts = plan(dirty, base_size, size)
    assert 1 <= len(parts) <= MAX_PARTS
    assert parts[0].start == 0
    assert parts[-1].end == size
    assert all(before.end == after.start for before, after in itertools.pairwise(parts))
    if len(parts) > 1:
        assert all(part.length >= MIN_PART for part in parts[:-1])
        assert all(0 < part.length <= _MAX_PART for part in parts)
    for part in parts:
        if part.source is PartOrigin.COPY:
            assert part.end <= base_size
            assert not dirty.touches(part.start, part.end)
    copied = sum(part.length for part in parts if part.source is PartOrigin.COPY)
    assert not copied or copied * 2 >= size


@given(_SIZE.filter(lambda size: size > SINGLE_PUT), st.integers(0, 20 * MIB))
def test_an_append_sends_little_more_than_what_is_new(base_size: int, added: int) -> None:
    size = min(MAX_OBJECT, base_size + added)
    dirty = Ranges([(base_size, size)])
    parts = plan(dirty, base_size, size)
    sent = sum(part.length for part in parts if part.source is PartOrigin.SEND)
    if 2 * (size - base_size + MIN_PART) <= size:
        assert sent == size - base_size


def test_a_byte_in_the_middle_sends_one_part() -> None:
    parts = plan(Ranges([(100 * MIB, 100 * MIB + 1)]), GIB, GIB)
    sent = [part for part in parts if part.source is PartOrigin.SEND]
    assert sent == [Part(PartOrigin.SEND, 100 * MIB, 100 * MIB + MIN_PART)]


def test_scattered_changes_send_the_whole() -> None:
    dirty = Ranges((offset, offset + 1) for offset in range(0, GIB, 8 * MIB))
    assert all(part.source is PartOrigin.SEND for part in plan(dirty, GIB, GIB))


def test_small_objects_are_one_part() -> None:
    assert plan(Ranges(), 0, 0) == (Part(PartOrigin.SEND, 0, 0),)
    assert plan(Ranges([(0, 1)]), SINGLE_PUT, SINGLE_PUT) == (Part(PartOrigin.SEND, 0, SINGLE_PUT),)


def test_the_parts_of_the_first_gigabytes_are_what_is_kept_in_memory() -> None:
    for number in (2, 3, 1000):
        assert part_range(number) == ((number - 1) * BLOCK, number * BLOCK)


def test_parts_sent_from_the_start_reach_the_largest_object() -> None:
    ranges = [part_range(number) for number in range(1, MAX_PARTS + 1)]
    assert ranges[0] == (0, 8 * MIB)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    assert ranges[-1][1] >= MAX_OBJECT
    assert max(end - start for start, end in ranges) <= _MAX_PART


@given(
    st.integers(0, 60 * MIB),
    st.integers(0, 60 * MIB),
    st.lists(st.tuples(st.integers(0, 60 * MIB), st.integers(1, 3 * MIB)), max_size=3),
)
def test_a_plan_applied_gives_the_bytes(
    base_size: int, size: int, runs: list[tuple[int, int]]
) -> None:
    # One model byte stands for 4 KiB, so that edges are rounded to it.
    scale = 4096
    base = bytes([1]) * (base_size // scale)
    new = bytearray(base[: size // scale].ljust(size // scale, b"\0"))
    dirty = Ranges()
    for start, length in runs:
        first, last = start // scale, min(size, start + length) // scale
        if first < last:
            new[first:last] = b"\2" * (last - first)
            dirty.add(first * scale, last * scale)
    result = b"".join(
        bytes(
            (base if part.source is PartOrigin.COPY else new)[
                part.start // scale : part.end // scale
            ]
        )
        for part in plan(dirty, len(base) * scale, len(new) * scale)
    )
    assert result == new
