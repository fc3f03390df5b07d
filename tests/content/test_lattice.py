"""Small reads at equal distances, by simulation; and random ones, which must not look like them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from provenafs.content.reading.access_pattern import SMALL_READ, AccessPattern
from provenafs.content.reading.runs import Range
from tests.support.access_simulation import GIB, KIB, MIB, Simulation

_HEADERS = 20
_VARIABLE = 8 * MIB + 700  # bytes from header to header, a little more or less each time


def headers(chance: random.Random, count: int = _HEADERS) -> list[int]:
    """Where the headers of a file of equal variables are, in the order they are asked for."""
    places = [number * _VARIABLE + chance.randrange(4 * KIB) for number in range(1, count)]
    chance.shuffle(places)
    return [0, *places]


def between(chance: random.Random) -> int:
    """A place far from all headers."""
    return chance.randrange(_HEADERS) * _VARIABLE + chance.randrange(2 * MIB, 6 * MIB)


@pytest.mark.parametrize("seed", range(20))
def test_headers_of_equal_variables_are_fetched_after_a_few(seed: int) -> None:
    simulation = Simulation(_HEADERS * _VARIABLE)
    waits = [bool(simulation.waits(place, 512)) for place in headers(random.Random(seed))]
    assert sum(waits) <= 5
    assert not any(waits[5:])
    assert simulation.moved <= 1.3 * _HEADERS * SMALL_READ


def test_a_longer_first_header_does_no_harm() -> None:
    simulation = Simulation(_HEADERS * _VARIABLE)
    places = [0, *(place + 300 * KIB for place in headers(random.Random(1))[1:])]
    assert sum(bool(simulation.waits(place, 512)) for place in places) <= 6


def test_records_are_fetched_more_and_more_ahead() -> None:
    record = 3 * MIB
    simulation = Simulation(3 * GIB)
    waits = [bool(simulation.waits(64 * KIB + number * record, 4 * KIB)) for number in range(1000)]
    assert all(waits[:3])
    assert sum(waits) <= 10
    assert simulation.moved <= 1.2 * 1000 * SMALL_READ
    # Who stops after some has had little fetched in vain.
    simulation = Simulation(3 * GIB)
    for number in range(8):
        simulation.read(64 * KIB + number * record, 4 * KIB)
    assert simulation.moved <= 24 * SMALL_READ


@pytest.mark.parametrize("size", [16 * MIB, 160 * MIB, 3 * GIB])
def test_random_reads_are_not_taken_for_a_walk(size: int) -> None:
    moved = reads = 0
    for seed in range(200):
        chance = random.Random(seed)
        access = AccessPattern(size)
        for _ in range(30):
            wanted = access.read(chance.randrange(size), 1, 128 * MIB)
            moved += sum(end - start for start, end in (wanted.now, *wanted.places))
            reads += 1
    assert moved <= 1.2 * reads * SMALL_READ


def test_what_is_fetched_is_kept_until_it_is_read() -> None:
    chance = random.Random(1)
    access = AccessPattern(_HEADERS * _VARIABLE)
    ahead: Sequence[Range] = ()
    for place in headers(chance):
        ahead = ahead or access.read(place, 512, 128 * MIB).places
    for _ in range(40):  # streams elsewhere, which forget each other
        access.read(between(chance), 200 * KIB, 128 * MIB)
    assert ahead
    assert all(access.keeps(*each) for each in ahead)
    read = min(ahead)
    access.read(read[0], 512, 128 * MIB)
    for _ in range(40):
        access.read(between(chance), 200 * KIB, 128 * MIB)
    assert not access.keeps(*read)


@pytest.mark.parametrize("step", [1, 2])
def test_of_many_places_only_the_nearest_are_kept(step: int) -> None:
    chance = random.Random(1)
    distance = 4 * MIB
    access = AccessPattern(1500 * distance)
    fetched: set[Range] = set()
    for number in range(0, 1500, step):
        place = max(0, number * distance + chance.randrange(-8 * KIB, 8 * KIB))
        wanted = access.read(place, 512, 128 * MIB)
        fetched |= {wanted.now, *wanted.places}
    assert len(fetched) >= 700
    assert sum(access.keeps(*each) for each in fetched) <= 100
