"""Reads at equal distances, by simulation: made up, and as libraries make them."""

from __future__ import annotations

import random

import pytest

from provenafs.content.reading.access_pattern import SMALL_READ
from tests.support.access_simulation import GIB, KIB, MIB, Simulation
from tests.support.traces import NAMES, TracedRead, trace


class _Handles:
    """The handles of a trace, each with a pattern of its own."""

    def __init__(self, reads: list[TracedRead]) -> None:
        self.waits = self.asked = 0
        self._handles: dict[int, Simulation] = {}
        self.sizes: dict[str, int] = {}
        for read in reads:
            handle = self._handles.setdefault(read.handle, Simulation(read.size, 80 * MIB))
            self.waits += handle.waits(read.offset, read.length)
            self.asked += min(read.length, read.size - read.offset)
            self.sizes[read.file] = read.size

    @property
    def moved(self) -> int:
        return sum(handle.moved for handle in self._handles.values())


# By how many waits for the network, and with how much moved of what the kernel asked for.
@pytest.mark.parametrize(
    ("name", "waits", "moved"),
    [
        ("hdf5_chunks", 8, 2.1),
        ("hdf5_chunks_128k", 5, 2.0),
        ("hdf5_descending", 8, 2.0),
        ("hdf5_compressed", 9, 2.4),
        ("netcdf3_series", 12, 4.5),
        ("netcdf4_variable", 8, 1.7),
        ("cog_windows", 36, 1.4),
        ("cog_windows_128k", 25, 1.7),
        ("zip_tenth", 12, 2.1),
    ],
)
def test_libraries_wait_seldom(name: str, waits: int, moved: float) -> None:
    handles = _Handles(trace(name))
    assert handles.waits <= waits
    assert handles.moved <= moved * handles.asked


@pytest.mark.parametrize("name", NAMES)
def test_no_trace_moves_more_than_the_objects_or_a_block_for_each_read(name: str) -> None:
    reads = trace(name)
    handles = _Handles(reads)
    assert handles.moved <= 2.2 * handles.asked + len(reads) * SMALL_READ


@pytest.mark.parametrize("step", [64 * KIB, 300 * KIB, MIB, 3 * MIB])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_distance_seen_three_times_is_followed(step: int, sign: int) -> None:
    size = 600 * step
    simulation = Simulation(size)
    places = [number * step + 1000 for number in range(500)][::sign]
    waits = [simulation.waits(place, 8 * KIB) for place in places]
    assert not any(waits[6:])
    assert simulation.moved <= min(size, 520 * (SMALL_READ + 64 * KIB))


def test_several_strides_at_once_do_not_disturb_each_other() -> None:
    simulation = Simulation(4 * GIB)
    waits = 0
    for number in range(300):
        waits += simulation.waits(100 * MIB + number * 2 * MIB, 200 * KIB)
        waits += simulation.waits(4 * GIB - number * 3 * MIB - MIB, 64 * KIB)
        if number % 15 == 0:  # the nodes of an index
            waits += simulation.waits(GIB + number * 2 * MIB, 4 * KIB)
    assert waits <= 12


def test_who_stops_after_some_has_had_little_fetched_in_vain() -> None:
    simulation = Simulation(GIB)
    for number in range(5):
        simulation.read(number * 4 * MIB, 256 * KIB)
    assert simulation.moved <= 10 * 320 * KIB
    simulation = Simulation(GIB)
    for number in range(100):
        simulation.read(number * 4 * MIB, 256 * KIB)
    assert simulation.moved <= 133 * 320 * KIB


def test_a_stride_that_changes_its_distance_is_found_again() -> None:
    simulation = Simulation(4 * GIB)
    places = [number * 2 * MIB for number in range(100)]
    places += [places[-1] + number * 6 * MIB for number in range(1, 100)]
    waits = [simulation.waits(place, 128 * KIB) for place in places]
    assert sum(waits) <= 20
    assert simulation.moved <= 300 * SMALL_READ


def test_guesses_that_were_wrong_make_it_careful() -> None:
    chance = random.Random(1)
    simulation = Simulation(64 * GIB)
    reads = 0
    for _ in range(60):  # five at equal distances, and on to another place
        start, step = chance.randrange(60 * GIB), chance.randrange(2 * MIB, 30 * MIB)
        for number in range(5):
            simulation.read(start + number * step, 4 * KIB)
            reads += 1
    assert simulation.moved <= 1.25 * reads * SMALL_READ


@pytest.mark.parametrize("size", [16 * MIB, 160 * MIB, 3 * GIB])
@pytest.mark.parametrize("length", [4 * KIB, 64 * KIB, 300 * KIB])
def test_random_reads_are_not_taken_for_a_stride(size: int, length: int) -> None:
    moved = needed = 0
    for seed in range(60):
        chance = random.Random(seed)
        simulation = Simulation(size)
        for _ in range(40):
            place = chance.randrange(size - length)
            simulation.read(place, length)
            low, high = place // SMALL_READ, -(-(place + length) // SMALL_READ)
            needed += (high - low) * SMALL_READ
        moved += simulation.moved
    assert moved <= 1.1 * needed
