"""Runs rows: every peer in turn, several rounds, each time from cold."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.data import make_folder
from bench.delay_proxy import DelayProxy, running_proxy
from bench.mounts import Peer, all_peers
from bench.objects import Objects
from bench.rows import MEMORY, MOVED, WARM_FOLDER, Goal, Measure, Measures, Network, Row, Run
from bench.scale import CONNECTION_BYTES_S, MIB, ROUND_TRIP_S, Scale
from bench.servers import BenchError, Site

_TOO_SLOW_TO_REPEAT_S = 120
_ROUND_TRIPS_MEASURED = 20

Tell = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What was found for one row."""

    row: Row
    title: str
    rounds: dict[str, list[Measures]] = field(default_factory=dict)
    """By peer."""
    failures: dict[str, str] = field(default_factory=dict)
    """By peer, the last one."""

    @property
    def ours(self) -> str:
        """The peer that the goals are for."""
        return self.row.peers[0]

    @property
    def medians(self) -> dict[str, Measures]:
        """Over the rounds, by peer."""
        return {
            peer: {name: statistics.median(one[name] for one in found) for name in found[0]}
            for peer, found in self.rounds.items()
        }

    def goals(self) -> Iterator[tuple[Goal, float | None]]:
        """Each goal and what was reached; None where that was not measured."""
        medians = self.medians
        most = self.row.most_memory_mib
        memory = Goal(f"RSS ≤ {most:.0f} MiB", most=most, measure=MEMORY)
        for goal in (*self.row.goals, memory):
            ours = medians.get(self.ours)
            yield goal, None if ours is None else goal.reached(ours, medians)


class Runner:
    """The peers over one site, and the data that rows ask for."""

    def __init__(self, site: Site, scale: Scale, tell: Tell) -> None:
        self.site = site
        self.scale = scale
        self.peers = all_peers(site)
        self._objects = Objects(site, site.endpoint)
        self._tell = tell
        self._numbers = 0

    def measure(self, row: Row) -> Result:
        """All peers and bare clients of a row."""
        result = Result(row, self.scale.describe(row.title))
        self._make_data(row)
        with self._network(row.network) as (endpoint, proxy, round_trip_s):
            contestants = self._contestants(row)
            for number in range(self.scale.rounds):
                for name in [name for name in contestants if not _too_slow(result, name)]:
                    self._tell(f"{result.title}: {name}, round {number + 1}")
                    peer, measure = contestants[name]
                    run = self._run(row, peer, endpoint, proxy, round_trip_s)
                    try:
                        result.rounds.setdefault(name, []).append(self._once(row, run, measure))
                    except Exception as error:
                        result.failures[name] = str(error) or type(error).__name__
        result.rounds = {name: found for name, found in result.rounds.items() if found}
        return result

    def _contestants(self, row: Row) -> dict[str, tuple[Peer, Measure]]:
        mounts = {name: (self.peers[name], row.measure) for name in row.peers if name in self.peers}
        bare = {name: (Peer(self.site), measure) for name, measure in row.bare.items()}
        return mounts | bare

    def _run(
        self, row: Row, peer: Peer, endpoint: str, proxy: DelayProxy | None, round_trip_s: float
    ) -> Run:
        self._numbers += 1
        return Run(
            peer=peer,
            objects=self._objects,
            scale=self.scale,
            endpoint=endpoint,
            proxy=proxy,
            name=str(self._numbers),
            writes=row.writes,
            round_trip_s=round_trip_s,
        )

    def _once(self, row: Row, run: Run, measure: Measure) -> Measures:
        if row.writes:
            self._objects.remove(run.written)
        if row.prepare is not None:
            row.prepare(run)
        run.peer.clear()
        try:
            run.start()
            before = None if run.proxy is None else run.moved()
            with self._limited(run.peer):
                found = measure(run)
            if before is not None:
                moved = run.moved().since(before)
                found = {MOVED: (moved.sent if row.writes else moved.received) / MIB} | found
            memory = run.peer.peak_memory()
        finally:
            run.peer.stop()
            run.peer.clear()
            if row.writes:
                self._objects.remove(run.written)
        return found if memory is None else found | {MEMORY: memory / MIB}

    @contextmanager
    def _limited(self, peer: Peer) -> Iterator[None]:
        """End the peer when it takes too long: whoever waits for it then gets an error."""
        expired = threading.Event()

        def end() -> None:
            expired.set()
            peer.kill()

        timer = threading.Timer(self.scale.limit_s, end)
        timer.start()
        try:
            yield
        except Exception:
            if not expired.is_set():
                raise
        finally:
            timer.cancel()
            timer.join()
        if expired.is_set():
            raise BenchError(f"not done within {self.scale.limit_s:.0f} s")

    @contextmanager
    def _network(self, network: Network) -> Iterator[tuple[str, DelayProxy | None, float]]:
        with ExitStack() as stack:
            if network is Network.LOOPBACK:
                yield self.site.endpoint, None, 0.0
                return
            delay = 0.0 if network is Network.COUNTED else ROUND_TRIP_S
            rate = CONNECTION_BYTES_S if network is Network.CAPPED else None
            proxy = stack.enter_context(running_proxy(self.site.endpoint, delay, rate))
            yield proxy.endpoint, proxy, _measured_round_trip(proxy)

    def _make_data(self, row: Row) -> None:
        needed = (WARM_FOLDER, *row.needs)
        for name in (*needed, *row.local):
            self._tell(f"making {name}")
            make_folder(name, self.site.home / "local" / name, self.scale)
        for name in needed:
            uploaded = self.site.home / "uploaded" / name
            if not uploaded.exists():
                self._tell(f"uploading {name}")
                self._objects.upload(self.site.home / "local" / name, name)
                uploaded.parent.mkdir(exist_ok=True)
                uploaded.touch()


def _too_slow(result: Result, name: str) -> bool:
    return name in result.failures or any(
        one.get("seconds", 0) > _TOO_SLOW_TO_REPEAT_S for one in result.rounds.get(name, ())
    )


def _measured_round_trip(proxy: DelayProxy) -> float:
    """Seconds from a request to its answer on a warm connection."""
    connection = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"))
    taken: list[float] = []
    for _ in range(_ROUND_TRIPS_MEASURED):
        started = time.perf_counter()
        connection.request("GET", "/minio/health/live")
        connection.getresponse().read()
        taken.append(time.perf_counter() - started)
    connection.close()
    return statistics.median(taken)
