"""The rows on mounting, reading and listing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import bare
from bench.data import NETCDF_VARIABLES, READERS
from bench.library_reads import library_read
from bench.rows import (
    MOUNTS,
    MOVED,
    SECONDS,
    Goal,
    Measure,
    Measures,
    Network,
    Row,
    Run,
    command,
    read_whole,
    same_files,
    timed,
)
from bench.scale import KIB, MIB
from bench.servers import BenchError

_PEERS = ("rclone", "s3fs")
_LARGE = "large/field.bin"
_TRIPS = "round trips"
_TRIPS_EACH = "round trips each"
_KIB_EACH = "KiB moved each"
_OF_VARIABLE = "moved of the variable"
_OF_ONE = "of one reader's throughput"
_SPREAD = "slowest of fastest"


def _ready(run: Run) -> Measures:
    """Its programs in the kernel's caches, its own caches empty."""
    run.peer.stop()
    run.peer.clear()
    return {SECONDS: run.peer.start(run.endpoint, run.writes)}


def read_sequentially(run: Run) -> Measures:
    """The large file from its beginning to its end."""
    found = run.timed(lambda: _read_large(run))
    same_files(run.path(_LARGE), run.local(_LARGE))
    return found


def _second(run: Run) -> Measures:
    _read_large(run)
    return {SECONDS: timed(lambda: _read_large(run))}


def _remounted(run: Run) -> Measures:
    _read_large(run)
    run.peer.stop()
    run.start()
    before = run.moved()
    seconds = timed(lambda: _read_large(run))
    return {SECONDS: seconds, MOVED: run.moved().since(before).received / MIB}


def _read_large(run: Run) -> None:
    total = read_whole(run.path(_LARGE))
    if total != run.scale.large:
        raise BenchError(f"{total} bytes were read of {run.scale.large}")


def _first_byte(run: Run) -> Measures:
    """With a connection that another file's read has left, and the name looked up already."""
    path = run.path(_LARGE)
    path.stat()

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            file.read(1)

    seconds = timed(read)
    return {SECONDS: seconds, _TRIPS: run.round_trips(seconds)}


def _list(folder: str) -> Measure:
    return lambda run: {SECONDS: timed(lambda: command("ls", "-lR", run.path(folder)))}


def _list_again(run: Run) -> Measures:
    command("ls", "-lR", run.path("many"))
    return _list("many")(run)


def copy_out(folder: str) -> Measure:
    """All files of a folder, by cp."""

    def measure(run: Run) -> Measures:
        with run.scratch() as target:
            seconds = timed(lambda: command("cp", "-r", run.path(folder), target))
            same_files(target / folder, run.local(folder))
        return {SECONDS: seconds}

    return measure


def _tar(folder: str) -> Measure:
    # Through a pipe: tar reads nothing when it sees that its output is /dev/null.
    script = 'tar cf - -C "$0" . | cat'
    return lambda run: {SECONDS: timed(lambda: command("bash", "-c", script, run.path(folder)))}


def _at_random(work: str) -> Measure:
    def measure(run: Run) -> Measures:
        count = run.scale.random_reads
        before = run.moved()
        seconds = library_read(run, work, _LARGE, count)
        return {
            SECONDS: seconds,
            _TRIPS_EACH: run.round_trips(seconds) / count,
            _KIB_EACH: run.moved().since(before).received / KIB / count,
        }

    return measure


def _one_variable(run: Run) -> Measures:
    before = run.moved()
    seconds = library_read(run, "variable", "model/model.nc")
    moved = run.moved().since(before).received
    return {SECONDS: seconds, _OF_VARIABLE: moved / run.scale.variable}


def _readers(run: Run) -> Measures:
    alone = run.scale.large / timed(lambda: _read_large(run))
    paths = [run.path(f"readers/{number}.bin") for number in range(READERS)]
    with ThreadPoolExecutor(READERS) as threads:
        each: list[float] = []
        total = timed(lambda: each.extend(threads.map(_time_to_read, paths)))
    together = READERS * run.scale.each_reader / total
    return {SECONDS: total, _OF_ONE: together / alone, _SPREAD: max(each) / min(each)}


def _time_to_read(path: Path) -> float:
    return timed(lambda: read_whole(path))


READ_ROWS = (
    Row(
        "ready",
        "mount ready",
        _ready,
        (Goal("under 1.5 s", most=1.5),),
        most_memory_mib=200,
    ),
    Row(
        "sequential",
        "cold sequential read, {large}, loopback",
        read_sequentially,
        (
            Goal("≥ 0.65 of bare ranged GETs", least=0.65, against=("boto3", "obstore")),
            Goal("≥ 2 × rclone and s3fs", least=2, against=_PEERS),
            Goal("≥ 1.05 × s3fs", least=1.05, against=("s3fs",)),
        ),
        bare={"boto3": bare.read_whole_with_boto3(_LARGE), "obstore": bare.read_with_obstore},
        needs=("large",),
        most_memory_mib=200,
    ),
    Row(
        "list",
        "ls -lR, {listed} files, loopback",
        _list("listed"),
        needs=("listed",),
        most_memory_mib=200,
    ),
    Row(
        "copy-tiny",
        "cp -r of {tiny} × 4 KiB cold, 30 ms",
        copy_out("tiny"),
        (Goal("≥ 20 × rclone and s3fs", least=20, against=_PEERS),),
        Network.DELAYED,
        needs=("tiny",),
        plain="Copying a folder of small files",
    ),
    Row(
        "tar-tiny",
        "tar c of {tiny} × 4 KiB cold, 30 ms",
        _tar("tiny"),
        (Goal("≥ 10 × rclone and s3fs", least=10, against=_PEERS),),
        Network.DELAYED,
        needs=("tiny",),
    ),
    Row(
        "tar-medium",
        "tar c of {medium} × 256 KiB cold, 30 ms",
        _tar("medium"),
        (Goal("≥ 10 × rclone and s3fs", least=10, against=_PEERS),),
        Network.DELAYED,
        needs=("medium",),
        plain="Archiving a folder (tar)",
    ),
    Row(
        "second",
        "second read of {large} (page cache)",
        _second,
        (Goal("≥ 0.9 of the local filesystem", least=0.9, against=("local",)),),
        peers=(*MOUNTS, "local"),
        needs=("large",),
    ),
    Row(
        "remount",
        "{large} after remount, from the block cache",
        _remounted,
        (
            Goal("≥ 0.5 of the local filesystem", least=0.5, against=("local",)),
            Goal("no GET: under 0.1 MiB moved", most=0.1, measure=MOVED),
        ),
        Network.COUNTED,
        peers=("provenafs", "local"),
        needs=("large",),
    ),
    Row(
        "first-byte",
        "first byte of cold {large}, connection warm, 30 ms",
        _first_byte,
        (Goal("≤ 1.5 round trips", most=1.5, measure=_TRIPS),),
        Network.DELAYED,
        needs=("large",),
        plain="The first byte of a file",
    ),
    Row(
        "random",
        "random 4 KiB preads in {large}, 30 ms",
        _at_random("preads"),
        (
            Goal("≤ 1.2 round trips each", most=1.2, measure=_TRIPS_EACH),
            Goal("≤ 256 KiB moved each", most=256, measure=_KIB_EACH),
        ),
        Network.DELAYED,
        needs=("large",),
    ),
    Row(
        "random-memmap",
        "random 4 KiB of numpy.memmap in {large}, 30 ms",
        _at_random("memmap"),
        (
            Goal("≤ 1.2 round trips each", most=1.2, measure=_TRIPS_EACH),
            Goal("≤ 256 KiB moved each", most=256, measure=_KIB_EACH),
        ),
        Network.DELAYED,
        needs=("large",),
    ),
    Row(
        "list-many",
        "ls -lR, {many} objects in {folders} directories, 30 ms",
        _list("many"),
        (
            Goal("≤ 1.5 × the bare paged LIST", least=1 / 1.5, against=("boto3",)),
            Goal("≥ 10 × s3fs", least=10, against=("s3fs",)),
            Goal("not behind rclone", least=1, against=("rclone",)),
        ),
        Network.DELAYED,
        bare={"boto3": bare.list_many},
        needs=("many",),
        plain="Listing very many files",
    ),
    Row(
        "list-again",
        "the same again within the TTL",
        _list_again,
        (Goal("≤ 3 × the local filesystem", least=1 / 3, against=("local",)),),
        Network.DELAYED,
        peers=("provenafs", "local"),
        needs=("many",),
    ),
    Row(
        "netcdf",
        f"open a NetCDF, read one of {NETCDF_VARIABLES} variables, xarray, 30 ms",
        _one_variable,
        (
            Goal("ahead of rclone and s3fs", least=1, against=_PEERS),
            Goal("moved ≤ 1.5 × the variable", most=1.5, measure=_OF_VARIABLE),
        ),
        Network.DELAYED,
        needs=("model",),
        plain="One variable of a NetCDF file",
    ),
    Row(
        "readers",
        f"{READERS} sequential readers at once, loopback",
        _readers,
        (
            Goal("total ≥ 0.8 of one reader's", least=0.8, measure=_OF_ONE),
            Goal("all within 1.5 × of each other", most=1.5, measure=_SPREAD),
        ),
        needs=("large", "readers"),
    ),
)
