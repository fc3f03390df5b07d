"""Reads with numpy and xarray in a process of its own, which a read that fails may end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.rows import output_of


def mapped_reads(path: Path, length: int, places: Sequence[int]) -> float:
    """Seconds to read `length` bytes at each place of a memory-mapped file."""
    return _apart("mapped", path, str(length), ",".join(map(str, places)))


def variable_read(path: Path, variable: str) -> float:
    """Seconds to open a NetCDF file and read one variable."""
    return _apart("variable", path, variable)


def _apart(*arguments: str | Path) -> float:
    return float(output_of(sys.executable, "-m", "bench.library_reads", *arguments))


def _read_mapped(path: str, length: str, places: str) -> float:
    import numpy

    starts = [int(place) for place in places.split(",")]
    mapped = numpy.memmap(path, mode="r")
    started = time.perf_counter()
    for start in starts:
        mapped[start : start + int(length)].tobytes()
    return time.perf_counter() - started


def _read_variable(path: str, variable: str) -> float:
    import netCDF4  # noqa: F401
    import xarray

    started = time.perf_counter()
    with xarray.open_dataset(path, engine="netcdf4") as dataset:
        dataset[variable].load()
        return time.perf_counter() - started


if __name__ == "__main__":
    _work, *_arguments = sys.argv[1:]
    print(_read_mapped(*_arguments) if _work == "mapped" else _read_variable(*_arguments))
