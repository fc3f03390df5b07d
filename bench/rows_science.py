"""The rows on how scientists read: pieces of chunked files, and many files that are alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bench import bare, ranges
from bench.datasets_science import COG_FILE, HDF5_FILE, TEXT_WORD, ZARR_STORE, ZIP_FILE
from bench.library_reads import library_read
from bench.mounts import BARE_LOOP, RCLONE_CACHING
from bench.rows import (
    SECONDS,
    Goal,
    Measure,
    Measures,
    Network,
    Row,
    Run,
    output_of,
    read_whole,
    timed,
)
from bench.scale import KIB
from bench.servers import BenchError
from bench.works import COG_WINDOWS, THREADS

PEERS = ("rclone", RCLONE_CACHING, "s3fs")
_COMPARED = ("provenafs", *PEERS)
_LARGE = "large/field.bin"
_WHOLE = "bare client (whole)"
_RANGES = "bare client (ranges)"
_OF_FILES = "moved of the files' size"
_KIB_EACH = "KiB moved each"
_PAGES_LEFT = 0.01
_A_SECOND = "reads a second"

_NOT_BEHIND = Goal("≤ 1.2 × the fastest peer", least=1 / 1.2, against=PEERS)
_NEAR_BARE = Goal("≤ 2 × the better bare client", least=0.5, against=(_WHOLE, _RANGES))
_NO_WASTE = Goal("moves no more than the files hold", most=1.02, measure=_OF_FILES)


def _reads(work: str, name: str) -> Measure:
    """A work of science on a file or folder."""

    def measure(run: Run) -> Measures:
        before = run.moved()
        seconds = library_read(run, work, name, run.scale.pieces)
        moved = run.moved().since(before).received
        return {SECONDS: seconds, _OF_FILES: moved / _size(run.local(name))}

    return measure


def _threads(run: Run) -> Measures:
    before = run.moved()
    seconds = library_read(run, "threads", _LARGE, run.scale.pieces)
    moved = run.moved().since(before).received
    return {SECONDS: seconds, _KIB_EACH: moved / KIB / run.scale.pieces}


def _cached(work: str) -> Measure:
    """Without the kernel's pages of the file, and with all that the peer itself keeps of it.

    The loop keeps it in memory, so that what a peer has on disk was read once before: otherwise
    the row would show how fast the disk is.
    """

    def measure(run: Run) -> Measures:
        path = run.path(_LARGE)
        count = run.scale.cached_preads if work == "preads" else run.scale.cached_faults
        read_whole(path)
        _drop_pages(path)
        library_read(run, work, _LARGE, count)
        _drop_pages(path)
        seconds = library_read(run, work, _LARGE, count)
        return {SECONDS: seconds, _A_SECOND: count / seconds}

    return measure


def _grep(run: Run) -> Measures:
    def found(folder: Path) -> list[str]:
        lines = output_of("grep", "-rlw", TEXT_WORD, folder).splitlines()
        return sorted(Path(line).name for line in lines)

    return _compared(found(run.local("texts")), lambda: found(run.path("texts")))


def _rsync_again(run: Run) -> Measures:
    """Into a copy that has the files' sizes and times already."""
    folder = run.path("tiny")
    with run.scratch() as target:
        output_of("cp", "-r", f"{run.local('tiny')}/.", target)
        for name, modified in run.objects.modified("tiny").items():
            os.utime(target / name, (modified, modified))
        quiet = ("--no-perms", "--no-owner", "--no-group", "--omit-dir-times")
        command = ("rsync", "-a", *quiet, "--itemize-changes", f"{folder}/", target)
        return _compared("", lambda: output_of(*command))


def _git_status(run: Run) -> Measures:
    folder = run.path("repository")
    command = ("git", "-c", "safe.directory=*", "-C", folder, "status", "--porcelain")
    return _compared("", lambda: output_of(*command))


def _compared(expected: object, work: Callable[[], object]) -> Measures:
    found: list[object] = []
    seconds = timed(lambda: found.append(work()))
    if found != [expected]:
        raise BenchError(f"{str(found[0])[:200]} was found in place of {str(expected)[:200]}")
    return {SECONDS: seconds}


def _drop_pages(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    left = int(output_of("fincore", "--bytes", "--noheadings", "--output", "RES", path))
    if left > path.stat().st_size * _PAGES_LEFT:
        raise BenchError(f"the kernel has kept {left} bytes of {path.name}")


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


PATTERN_ROWS = (
    Row(
        "hdf5",
        "a point through {hdf5} chunks of 256 KiB, HDF5, 30 ms",
        _reads("hdf5", HDF5_FILE),
        (Goal("not behind the fastest peer", least=1, against=PEERS), _NEAR_BARE, _NO_WASTE),
        Network.DELAYED,
        _COMPARED,
        {
            _WHOLE: bare.read_whole_with_boto3(HDF5_FILE),
            _RANGES: bare.read_ranges_with_boto3(HDF5_FILE, ranges.of_hdf5),
        },
        needs=("hdf5",),
        plain="A time series at one point of an HDF5 file",
    ),
    Row(
        "cog",
        f"{COG_WINDOWS} windows and an overview of a {{cog}} GeoTIFF (COG), rasterio, 30 ms",
        _reads("cog", COG_FILE),
        (_NOT_BEHIND, _NEAR_BARE, _NO_WASTE),
        Network.DELAYED,
        _COMPARED,
        {
            _WHOLE: bare.read_whole_with_boto3(COG_FILE),
            _RANGES: bare.read_ranges_with_boto3(COG_FILE, ranges.of_cog),
        },
        needs=("cog",),
        plain="Windows of a large satellite image",
    ),
    Row(
        "zip",
        "every tenth of {members} members of a zip, 30 ms",
        _reads("zip", ZIP_FILE),
        (_NOT_BEHIND, _NEAR_BARE, _NO_WASTE),
        Network.DELAYED,
        _COMPARED,
        {
            _WHOLE: bare.read_whole_with_boto3(ZIP_FILE),
            _RANGES: bare.read_ranges_with_boto3(ZIP_FILE, ranges.of_zip),
        },
        needs=("zip",),
        plain="Some members of a zip archive",
    ),
    Row(
        "threads",
        f"{THREADS} threads, {{pieces}} × 64 KiB at random of {{large}}, 30 ms",
        _threads,
        (
            _NOT_BEHIND,
            _NEAR_BARE,
            Goal("≤ 128 KiB moved each", most=128, measure=_KIB_EACH),
        ),
        Network.DELAYED,
        _COMPARED,
        {
            _WHOLE: bare.read_whole_with_boto3(_LARGE),
            _RANGES: bare.read_ranges_with_boto3(_LARGE, ranges.of_threads),
        },
        needs=("large",),
        plain="Random pieces of a large file, 8 threads",
    ),
    Row(
        "many-netcdf",
        "open_mfdataset of {netcdf} NetCDF-4 files, a point's series, xarray, 30 ms",
        _reads("many-netcdf", "netcdf"),
        (_NOT_BEHIND, Goal("≥ 3 × the fastest peer", least=3, against=PEERS), _NO_WASTE),
        Network.DELAYED,
        _COMPARED,
        needs=("netcdf",),
        plain="A time series across many NetCDF files",
    ),
    Row(
        "duckdb",
        "2 of 10 columns of {parquet} Parquet files of 8 MiB, DuckDB, 30 ms",
        _reads("duckdb", "parquet"),
        (_NOT_BEHIND, Goal("≥ 2 × the fastest peer", least=2, against=PEERS), _NO_WASTE),
        Network.DELAYED,
        _COMPARED,
        needs=("parquet",),
        plain="A query over many Parquet files",
    ),
    Row(
        "zarr",
        "Zarr v3, {chunks} chunks of 16 KiB, whole, 30 ms",
        _reads("zarr", ZARR_STORE),
        (_NOT_BEHIND,),
        Network.DELAYED,
        _COMPARED,
        needs=("zarr",),
        plain="A whole Zarr array",
    ),
    Row(
        "zarr-slab",
        "Zarr v3, one slab of 100 chunks of 16 KiB, 30 ms",
        _reads("zarr-slab", ZARR_STORE),
        (_NOT_BEHIND,),
        Network.DELAYED,
        _COMPARED,
        needs=("zarr",),
        plain="A slab of a Zarr array",
    ),
    Row(
        "grep",
        "grep -r of {tiny} × 4 KiB, 30 ms",
        _grep,
        (_NOT_BEHIND,),
        Network.DELAYED,
        _COMPARED,
        needs=("texts",),
        plain="Searching many small files (grep -r)",
    ),
    Row(
        "rsync-again",
        "rsync -a of {tiny} × 4 KiB that are there already, 30 ms",
        _rsync_again,
        (_NOT_BEHIND,),
        Network.DELAYED,
        _COMPARED,
        needs=("tiny",),
        plain="rsync of a folder that has not changed",
    ),
    Row(
        "git-status",
        "git status in a repository of {repository} files, 30 ms",
        _git_status,
        (_NOT_BEHIND,),
        Network.DELAYED,
        _COMPARED,
        needs=("repository",),
        plain="git status",
    ),
)

CACHED_ROWS = (
    Row(
        "cached-preads",
        "random 4 KiB preads of a cached file of {large}, loopback",
        _cached("preads"),
        (Goal("≥ 0.6 of the bare pyfuse3 loop", least=0.6, against=(BARE_LOOP,)),),
        peers=("provenafs", RCLONE_CACHING, "s3fs", BARE_LOOP),
        needs=("large",),
        plain="Random reads of a file read before",
    ),
    Row(
        "cached-faults",
        "random faults of numpy.memmap in a cached file of {large}, loopback",
        _cached("sparse-memmap"),
        (Goal("≥ 0.6 of the bare pyfuse3 loop", least=0.6, against=(BARE_LOOP,)),),
        peers=("provenafs", RCLONE_CACHING, "s3fs", BARE_LOOP),
        needs=("large",),
        plain="Memory-mapped reads of a file read before",
    ),
)

SCIENCE_ROWS = (*PATTERN_ROWS, *CACHED_ROWS)
