"""The rows on writing and removing. What is written counts as written when S3 has it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import bare
from bench.rows import MOUNTS, SECONDS, Goal, Measures, Network, Row, Run, command
from bench.scale import MIB

_WRITERS = 8
_PEERS = ("rclone", "s3fs")
_LARGE = "large/field.bin"
_TRIPS_EACH = "round trips a file"
_MIB_SENT = "MiB sent"
_MIB_RECEIVED = "MiB received"


def write_sequentially(run: Run) -> Measures:
    """The large file in pieces of 1 MiB."""
    name = "field.bin"
    run.path(run.written).mkdir()
    started = time.perf_counter()
    _write(run.path(run.written) / name, run.local(_LARGE), run.scale.large)
    stored = run.wait_until_stored({name: run.scale.large})
    run.objects.check(f"{run.written}/{name}", run.local(_LARGE))
    return {SECONDS: stored - started}


def _write(path: Path, source: Path, size: int) -> None:
    """`size` bytes in pieces of 1 MiB, from the beginning of another file."""
    with source.open("rb") as data, path.open("wb", buffering=0) as file:
        for _ in range(size // MIB):
            file.write(data.read(MIB))


def copy_in(run: Run, folder: str) -> Measures:
    """All files of a local folder, by cp, until they are stored."""
    source, target = run.local(folder), run.path(run.written)
    started = time.perf_counter()
    command("cp", "-r", source, target)
    run.peer.sync()
    stored = run.wait_until_stored({path.name: path.stat().st_size for path in source.iterdir()})
    for path in source.iterdir():
        run.objects.check(f"{run.written}/{path.name}", path)
    return {SECONDS: stored - started}


def _copy_small(run: Run) -> Measures:
    found = copy_in(run, "written")
    trips = run.round_trips(found[SECONDS])
    return found | {_TRIPS_EACH: trips / run.scale.written_files}


def _put_large(run: Run) -> None:
    run.objects.upload(run.local("large"), run.written)


def _append(run: Run) -> Measures:
    name = "field.bin"
    before = run.moved()
    started = time.perf_counter()
    with (run.path(run.written) / name).open("ab", buffering=0) as file:
        file.write(bytes(MIB))
    stored = run.wait_until_stored({name: run.scale.large + MIB})
    moved = run.moved().since(before)
    run.objects.check(f"{run.written}/{name}", run.local(_LARGE), tail=bytes(MIB))
    return {
        SECONDS: stored - started,
        _MIB_SENT: moved.sent / MIB,
        _MIB_RECEIVED: moved.received / MIB,
    }


def _put_files(run: Run) -> None:
    run.objects.upload(run.local("written"), run.written)


def _remove(run: Run) -> Measures:
    started = time.perf_counter()
    command("rm", "-r", run.path(run.written))
    return {SECONDS: run.wait_until_stored({}) - started}


def _writers(run: Run) -> Measures:
    folder = run.path(run.written)
    folder.mkdir()
    size = run.scale.each_writer

    def write(number: int) -> None:
        _write(folder / f"{number}.bin", run.local(_LARGE), size)

    started = time.perf_counter()
    with ThreadPoolExecutor(_WRITERS) as threads:
        list(threads.map(write, range(_WRITERS)))
    stored = run.wait_until_stored({f"{number}.bin": size for number in range(_WRITERS)})
    return {SECONDS: stored - started}


WRITE_ROWS = (
    Row(
        "write",
        "sequential write of {large} with close, loopback",
        write_sequentially,
        (
            Goal("≥ 0.7 of boto3's multipart upload", least=0.7, against=("boto3",)),
            Goal("ahead of rclone and s3fs", least=1, against=_PEERS),
        ),
        bare={"boto3": bare.write_with_boto3()},
        local=("large",),
        writes=True,
    ),
    Row(
        "copy-in",
        "cp -r of {written} × 4 KiB into it, 30 ms",
        _copy_small,
        (Goal("≤ 1.3 round trips a file", most=1.3, measure=_TRIPS_EACH),),
        Network.DELAYED,
        local=("written",),
        writes=True,
        plain="Copying small files into it",
    ),
    Row(
        "copy-in-writeback",
        "cp -r of {written} × 4 KiB into it with --writeback, until sync, 30 ms",
        _copy_small,
        (Goal("≥ 10 × s3fs", least=10, against=("s3fs",)),),
        Network.DELAYED,
        peers=("provenafs --writeback", *MOUNTS[1:]),
        local=("written",),
        writes=True,
    ),
    Row(
        "append",
        "append 1 MiB to {large}, 30 ms",
        _append,
        (
            Goal("sends under 12 MiB", most=12, measure=_MIB_SENT),
            Goal("reads none of it: under 0.5 MiB", most=0.5, measure=_MIB_RECEIVED),
        ),
        Network.DELAYED,
        local=("large",),
        prepare=_put_large,
        writes=True,
        plain="Appending to a large file",
    ),
    Row(
        "remove",
        "rm -r of {written} files, 30 ms",
        _remove,
        (Goal("ahead of s3fs", least=1, against=("s3fs",)),),
        Network.DELAYED,
        local=("written",),
        prepare=_put_files,
        writes=True,
        plain="Removing a folder of files",
    ),
    Row(
        "write-many",
        f"{_WRITERS} × {{writer}} written at once, loopback",
        _writers,
        peers=("provenafs",),
        local=("large",),
        writes=True,
        most_memory_mib=200,
    ),
)
