"""What a row of the benchmark is: something to measure, on whom, and what must be reached."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path

from bench.delay_proxy import Counts, DelayProxy
from bench.mounts import Peer, drop_kernel_caches
from bench.objects import Objects
from bench.scale import MIB, Scale
from bench.servers import BenchError

SECONDS = "seconds"
MEMORY = "RSS in MiB"
MOVED = "MiB moved"
WARM_FOLDER = "warm"
WARM_FILE = f"{WARM_FOLDER}/00000.bin"
MOUNTS = ("provenafs", "rclone", "rclone (Debian)", "s3fs")
_POLL_S = 0.05
_READ_BYTES = MIB

Measures = dict[str, float]
"""What one measurement found, by name; the name says the unit."""


class Network(Enum):
    """How S3 is reached."""

    LOOPBACK = auto()
    COUNTED = auto()
    """On loopback through a proxy that counts."""
    DELAYED = auto()
    """Through a proxy that counts and delays."""
    CAPPED = auto()
    """The same, and each connection carries no more than S3 gives one."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Something to reach. With `against`: how many times as fast as the fastest of those."""

    text: str
    least: float | None = None
    most: float | None = None
    measure: str = SECONDS
    against: tuple[str, ...] = ()

    def reached(self, ours: Measures, medians: Mapping[str, Measures]) -> float | None:
        """The figure to judge; None if what it needs was not measured."""
        if self.measure not in ours:
            return None
        if not self.against:
            return ours[self.measure]
        theirs = [medians[name][self.measure] for name in self.against if name in medians]
        return min(theirs) / ours[self.measure] if theirs else None

    def is_met(self, reached: float) -> bool:
        """Whether a figure is enough."""
        if self.least is not None and reached < self.least:
            return False
        return self.most is None or reached <= self.most


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one peer, which runs, with all caches cold."""

    peer: Peer
    objects: Objects
    """Without delay, whatever the network of the row."""
    scale: Scale
    endpoint: str
    proxy: DelayProxy | None
    name: str
    """Of this measurement alone."""
    writes: bool
    round_trip_s: float
    """As measured through the proxy; 0 without one."""

    def path(self, name: str) -> Path:
        """A file or folder of the dataset, in the mount."""
        return self.peer.data / name

    def local(self, name: str) -> Path:
        """The same on the local disk."""
        return self.peer.site.home / "local" / name

    @property
    def written(self) -> str:
        """The name of a folder of this measurement's own."""
        return f"out-{self.name}"

    def start(self) -> None:
        """Start the peer: its program loaded, its connection warm, and no data cached."""
        self.peer.start(self.endpoint, self.writes)
        read_whole(self.path(WARM_FILE))
        drop_kernel_caches()

    def round_trips(self, seconds: float) -> float:
        """How many round trips of the network that is."""
        return seconds / self.round_trip_s

    def timed(self, work: Callable[[], object]) -> Measures:
        """How long something takes, and how much is received meanwhile where that is counted."""
        if self.proxy is None:
            return {SECONDS: timed(work)}
        before = self.moved()
        seconds = timed(work)
        return {MOVED: self.moved().since(before).received / MIB, SECONDS: seconds}

    def moved(self) -> Counts:
        """What has gone through the network so far."""
        assert self.proxy is not None
        return self.proxy.counts()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the local disk, removed afterwards."""
        folder = self.peer.site.home / "scratch" / self.name
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def wait_until_stored(self, expected: Mapping[str, int]) -> float:
        """Wait until the own folder holds these sizes by path; the time of the look that saw it."""
        deadline = time.monotonic() + self.scale.limit_s
        while time.monotonic() < deadline:
            looked = time.perf_counter()
            if self.objects.stored(self.written) == expected:
                return looked
            time.sleep(_POLL_S)
        raise BenchError("what was written is not stored")


Measure = Callable[[Run], Measures]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the targets' tables. The first peer is ours."""

    name: str
    title: str
    """With the fields of Scale.describe in braces."""
    measure: Measure
    goals: tuple[Goal, ...] = ()
    network: Network = Network.LOOPBACK
    peers: tuple[str, ...] = MOUNTS
    bare: Mapping[str, Measure] = field(default_factory=dict)
    """The same by a client without a mount, by the client's name."""
    needs: tuple[str, ...] = ()
    """Folders of the dataset that must be there."""
    local: tuple[str, ...] = ()
    """Folders that must be on the local disk only."""
    prepare: Callable[[Run], None] | None = None
    """What is done before the mount is started, at no delay."""
    writes: bool = False
    most_memory_mib: float = 250
    plain: str = ""
    """What it is to a user, for the chart; not drawn without."""

    def only(self, names: Collection[str]) -> Row:
        """The same for ours and some peers and bare clients; for all of them without names."""
        if not names:
            return self
        ours, *others = self.peers
        peers = (ours, *(peer for peer in others if peer in names))
        bare = {name: measure for name, measure in self.bare.items() if name in names}
        return replace(self, peers=peers, bare=bare)


def read_whole(path: Path) -> int:
    """Read a file from its beginning to its end; how many bytes there were."""
    buffer = bytearray(_READ_BYTES)
    total = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total


def timed(work: Callable[[], object]) -> float:
    """How many seconds something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def command(*arguments: str | Path) -> None:
    """Run a program to its end, its output thrown away; BenchError if it fails."""
    _run(arguments, subprocess.DEVNULL)


def output_of(*arguments: str | Path) -> str:
    """What a program prints that is run to its end; BenchError if it fails."""
    return _run(arguments, subprocess.PIPE)


def same_files(one: Path, other: Path) -> None:
    """BenchError unless two files, or two folders, hold the same bytes."""
    done = subprocess.run(["diff", "-rq", one, other], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"wrong bytes: {(done.stdout + done.stderr).strip()[:300]}")


def _run(arguments: Sequence[str | Path], stdout: int) -> str:
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"{arguments[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
