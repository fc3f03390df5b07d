"""Windows of sequential streams, by simulation."""

from __future__ import annotations

import random

import pytest

from provenafs.content.reading.access_pattern import (
    LONGEST_PIECE,
    LONGEST_WINDOW,
    SMALL_READ,
    AccessPattern,
)
from tests.support.access_simulation import GIB, KIB, MIB, Simulation


def test_a_header_probe_of_a_huge_file_moves_kilobytes() -> None:
    simulation = Simulation(10 * GIB)
    simulation.read(0, 4 * KIB)
    simulation.read(4 * KIB, 28 * KIB)
    assert simulation.moved <= 512 * KIB


def test_the_first_read_asks_for_little_and_the_rest_for_more_and_more() -> None:
    simulation = Simulation(GIB)
    assert simulation.read(0, 128 * KIB) == [(0, 128 * KIB)]
    ahead = []
    for offset in range(128 * KIB, 160 * MIB, 128 * KIB):
        new = simulation.read(offset, 128 * KIB)
        assert all(end - start <= LONGEST_PIECE for start, end in new)
        ahead.append(simulation.moved - offset)
    assert max(ahead) <= 5 * LONGEST_PIECE + MIB
    assert ahead[-1] >= 4 * LONGEST_PIECE
    assert len(simulation.fetched) < 80


@pytest.mark.parametrize("at_once", [1, 4, 12, 32, 128])
def test_a_window_is_cut_into_as_many_ranges_as_may_be_under_way(at_once: int) -> None:
    simulation = Simulation(GIB, at_once=at_once)
    for offset in range(0, 160 * MIB, MIB):
        simulation.read(offset, MIB)
        assert simulation.moved - offset <= LONGEST_WINDOW + LONGEST_PIECE
    ahead = [each for each in simulation.fetched if each[0] >= 160 * MIB]
    assert min(at_once, 32) <= len(ahead) <= max(3, 2 * at_once)


def test_a_sequential_reader_waits_only_at_the_start() -> None:
    simulation = Simulation(200 * MIB)
    waited = 0
    for offset in range(0, 200 * MIB, MIB):
        before = simulation.moved
        new = simulation.read(offset, MIB)
        waited += any(start <= offset < end for start, end in new) and before >= 0
    assert waited <= 2
    assert simulation.moved == 200 * MIB


def test_random_reads_stay_small() -> None:
    simulation = Simulation(GIB)
    draw = random.Random(4)
    for _ in range(500):
        simulation.read(draw.randrange(GIB // 4096) * 4096, 4096)
    assert simulation.moved <= 500 * SMALL_READ * 1.1


def test_parts_of_a_kernel_window_in_any_order_are_one_stream() -> None:
    draw = random.Random(5)
    simulation = Simulation(GIB)
    for window in range(0, 96 * MIB, MIB):
        parts = list(range(window, window + MIB, 128 * KIB))
        draw.shuffle(parts)
        for offset in parts:
            simulation.read(offset, 128 * KIB)
    assert simulation.moved >= 96 * MIB + LONGEST_PIECE


def test_several_streams_keep_their_windows() -> None:
    simulation = Simulation(4 * GIB)
    starts = [0, GIB, 2 * GIB, 3 * GIB]
    for step in range(0, 16 * MIB, 256 * KIB):
        for start in starts:
            new = simulation.read(start + step, 256 * KIB)
            if step > 4 * MIB:
                assert not any(first <= start + step < end for first, end in new)
    assert all(simulation.access.keeps(start + 17 * MIB, start + 18 * MIB) for start in starts)


def test_a_stream_is_forgotten_after_reads_elsewhere() -> None:
    simulation = Simulation(GIB)
    for offset in range(0, 8 * MIB, MIB):
        simulation.read(offset, MIB)
    assert simulation.access.keeps(9 * MIB, 10 * MIB)
    for number in range(1, 30):
        simulation.read(number * 32 * MIB, 4096)
    assert not simulation.access.keeps(9 * MIB, 10 * MIB)


def test_a_window_is_no_longer_than_its_limit() -> None:
    simulation = Simulation(GIB, limit=4 * MIB)
    for offset in range(0, 32 * MIB, MIB):
        simulation.read(offset, MIB)
        assert simulation.moved <= offset + MIB + 4 * MIB


def test_pieces_come_in_few_sizes() -> None:
    simulation = Simulation(GIB, limit=10 * MIB)
    for offset in range(0, 100 * MIB, MIB):
        simulation.read(offset, MIB)
    lengths = {end - start for start, end in simulation.fetched}
    assert lengths <= {MIB, 2 * MIB, 4 * MIB}


def test_small_objects_come_in_one_piece() -> None:
    assert Simulation(300 * KIB).read(200 * KIB, 4096) == [(0, 300 * KIB)]


def test_what_did_not_fit_is_asked_for_again() -> None:
    access = AccessPattern(GIB)
    for offset in range(0, 8 * MIB, MIB):
        wanted = access.read(offset, MIB, 128 * MIB)
    start = wanted.ahead[0][0]
    access.fell_short(start)
    assert access.read(8 * MIB, MIB, 128 * MIB).ahead[0][0] == start


@pytest.mark.parametrize("size", [2 * MIB, 8 * MIB, 16 * MIB, 50 * MIB, 200 * MIB])
def test_no_more_than_half_of_a_large_variable_is_fetched_in_vain(size: int) -> None:
    simulation = Simulation(GIB)
    for offset in range(300 * MIB, 300 * MIB + size, 128 * KIB):
        simulation.read(offset, 128 * KIB)
    assert simulation.moved <= size + max(size / 2, 4 * MIB) + 2 * 128 * KIB
