"""How many transfers at once are found, on simulated networks."""

from __future__ import annotations

from itertools import product
from statistics import mean

import pytest

from provenafs.lib.parallelism import FIRST, Parallelism
from tests.support.network_simulation import MB, MIB, Download, Network

_MOST = 32
_LONGEST = 72 * MIB


def _window(read: int, at_once: int) -> tuple[int, int]:
    """As read-ahead in order has it: little at first, and 72 MiB in the end."""
    window = min(max(4 * MIB, read // 2), _LONGEST, 9 * MIB * max(2, at_once))
    piece = max(2 * MIB, window * 8 // 9 // max(2, at_once)) if window > 4 * MIB else MIB
    return window, min(8 * MIB, 1 << piece.bit_length() - 1)


def _download(network: Network, most: int = _MOST, seed: int = 1) -> Download:
    return Download(network, Parallelism(most), _window, seed=seed)


def _best(network: Network, seconds: float) -> dict[int, float]:
    """What each number of transfers at once gives when it never changes."""
    found = {}
    for at_once in (1, 2, 4, 8, 12, 16, 24, 32):
        download = Download(network, Parallelism(_MOST), _window, fixed=at_once)
        download.run(2 * seconds)  # until the window is open
        found[at_once] = download.run(seconds)
    return found


_TRIPS = (0.001, 0.03, 0.2)
_EACH = (5 * MB, 25 * MB, 90 * MB, 2000 * MB)
_TOTAL = (5 * MB, 50 * MB, 200 * MB, 2000 * MB)


@pytest.mark.parametrize(
    ("trip", "each", "total"),
    [case for case in product(_TRIPS, _EACH, _TOTAL) if case[1] <= case[2]],
)
def test_most_of_what_a_network_can_give_is_reached(trip: float, each: float, total: float) -> None:
    network = Network(trip, each, total)
    seconds = max(2.0, 600 * MIB / min(total, each * _MOST))
    best = _best(network, seconds)
    download = _download(network)
    download.run(2 * seconds)
    assert download.run(3 * seconds) >= 0.8 * max(best.values())


@pytest.mark.parametrize("each", [25 * MB, 2000 * MB])
def test_no_more_connections_than_a_few_where_a_few_are_enough(each: float) -> None:
    for seed in range(5):
        download = _download(Network(0.01, each, 50 * MB), seed=seed)
        download.run(60)
        before = download.now
        download.run(120)
        assert mean(limit for at, limit in download.limits if at > before) <= 12


def test_one_connection_after_the_other_is_added_within_a_second() -> None:
    download = _download(Network(0.03, 25 * MB, 2000 * MB))
    download.run(1.2)
    assert download.limit == _MOST


def test_never_more_than_it_is_allowed() -> None:
    download = _download(Network(0.03, 5 * MB, 2000 * MB), most=10)
    download.run(20)
    assert max(limit for _, limit in download.limits) == 10


@pytest.mark.parametrize("most", [1, 2, 3, 5, 128])
def test_any_most_is_a_start(most: int) -> None:
    parallelism = Parallelism(most)
    assert parallelism.limit == min(most, FIRST)
    parallelism.overloaded(0.0)
    assert 1 <= parallelism.limit <= min(most, FIRST)


def test_a_server_that_asks_for_less_gets_less() -> None:
    network = Network(0.03, 25 * MB, 2000 * MB, refuses_above=10)
    download = _download(network)
    reached = download.run(30)
    assert download.refused <= 20
    assert reached >= 0.5 * 9 * 2 * MIB / (0.03 + 2 * MIB / (25 * MB))


def test_a_burst_of_refusals_counts_once() -> None:
    parallelism = Parallelism(_MOST)
    for _ in range(10):
        parallelism.overloaded(5.0)
    assert parallelism.limit == FIRST // 2


def test_a_slow_reader_is_no_reason_for_more_connections() -> None:
    parallelism = Parallelism(_MOST)
    for second in range(100):
        transfer = parallelism.begin(float(second))
        parallelism.end(transfer, 8 * MIB, second + 0.5)
    assert parallelism.limit == FIRST


def test_failures_say_nothing_of_the_network() -> None:
    parallelism = Parallelism(_MOST)
    for second in range(100):
        transfers = [parallelism.begin(float(second)) for _ in range(FIRST)]
        for transfer in transfers:
            parallelism.end(transfer, 0, second + 0.5)
    assert (parallelism.limit, parallelism.in_flight, parallelism.throughput) == (FIRST, 0, 0.0)


def test_a_network_that_becomes_wider_is_noticed() -> None:
    download = _download(Network(0.03, 25 * MB, 50 * MB))
    download.run(30)
    download.network = Network(0.03, 25 * MB, 2000 * MB)
    download.run(60)
    assert download.run(10) >= 0.8 * max(_best(download.network, 5).values())


def test_no_more_are_tried_where_it_is_enough() -> None:
    network = Network(0.001, 200 * MB, 4000 * MB)
    bounded = Download(network, Parallelism(_MOST, enough=500 * MB), _window, seed=1)
    bounded.run(30)
    unbounded = _download(network)
    unbounded.run(30)
    assert bounded.limit <= 8 < unbounded.limit
