"""What is done with a file or folder by the libraries of science; each returns what it has read."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.datasets_science import COG_BLOCK, HDF5_VARIABLE
from bench.scale import KIB, MIB

BLOCK = 4 * KIB
PIECE = 64 * KIB
THREADS = 8
POINT = (300, 200)
"""The row and column that a series is read of."""
COG_WINDOWS = 20
COG_REDUCED = 8
ONE_VARIABLE = "v07"
EVERY = 10
_SLAB = 3
_SEED = 20240131

Work = Callable[[Path, int], list[bytes]]
"""Of a path, and of as many places as it is given where it reads at random."""


def places(size: int, length: int, count: int) -> list[int]:
    """Where to read `length` bytes at random, no two of which overlap."""
    return [length * block for block in random.Random(_SEED).sample(range(size // length), count)]


def window_places(side: int) -> list[tuple[int, int]]:
    """The first row and column of each window of COG_BLOCK pixels in a raster."""
    generator = random.Random(_SEED)
    last = side - COG_BLOCK
    return [(generator.randint(0, last), generator.randint(0, last)) for _ in range(COG_WINDOWS)]


def _preads(path: Path, count: int) -> list[bytes]:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        return [os.pread(file.fileno(), BLOCK, place) for place in places(size, BLOCK, count)]


def _memmap(path: Path, count: int) -> list[bytes]:
    import numpy

    mapped = numpy.memmap(path, mode="r")
    found = places(mapped.size, BLOCK, count)
    return [mapped[place : place + BLOCK].tobytes() for place in found]


def _sparse_memmap(path: Path, count: int) -> list[bytes]:
    """One block in each MiB, so that what is read around one fault does not serve the next."""
    import numpy

    mapped = numpy.memmap(path, mode="r")
    found = places(mapped.size, MIB, count)
    return [mapped[place : place + BLOCK].tobytes() for place in found]


def _threads(path: Path, count: int) -> list[bytes]:
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(THREADS) as threads:
        descriptor = file.fileno()
        found = places(os.fstat(descriptor).st_size, PIECE, count)
        return list(threads.map(lambda place: os.pread(descriptor, PIECE, place), found))


def _variable(path: Path, _: int) -> list[bytes]:
    import netCDF4  # noqa: F401
    import xarray

    with xarray.open_dataset(path, engine="netcdf4") as dataset:
        return [dataset[ONE_VARIABLE].to_numpy().tobytes()]


def _many_netcdf(path: Path, _: int) -> list[bytes]:
    import netCDF4  # noqa: F401
    import xarray

    with xarray.open_mfdataset(sorted(path.glob("*.nc")), engine="netcdf4") as dataset:
        series = dataset["t2m"].sel(lat=-35, lon=149, method="nearest")
        return [series.to_numpy().tobytes()]


def _hdf5(path: Path, _: int) -> list[bytes]:
    import h5py

    with h5py.File(path) as file:
        return [file[HDF5_VARIABLE][:, POINT[0], POINT[1]].tobytes()]


def _zarr(path: Path, _: int) -> list[bytes]:
    import zarr

    array: Any = zarr.open_array(path, mode="r")
    return [array[:].tobytes()]


def _zarr_slab(path: Path, _: int) -> list[bytes]:
    import zarr

    array: Any = zarr.open_array(path, mode="r")
    return [array[_SLAB].tobytes()]


def _duckdb(path: Path, _: int) -> list[bytes]:
    import duckdb

    query = "SELECT sum(c2), sum(c6) FROM read_parquet(?)"
    with duckdb.connect() as connection:
        found = connection.execute(query, [str(path / "*.parquet")]).fetchall()
    return [repr(found).encode()]


def _cog(path: Path, _: int) -> list[bytes]:
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path) as raster:
        found = [
            raster.read(1, window=Window(column, row, COG_BLOCK, COG_BLOCK)).tobytes()
            for row, column in window_places(raster.width)
        ]
        side = raster.width // COG_REDUCED
        return [*found, raster.read(1, out_shape=(side, side)).tobytes()]


def _zip(path: Path, _: int) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()[::EVERY]]


WORKS: dict[str, Work] = {
    "cog": _cog,
    "duckdb": _duckdb,
    "hdf5": _hdf5,
    "many-netcdf": _many_netcdf,
    "memmap": _memmap,
    "preads": _preads,
    "sparse-memmap": _sparse_memmap,
    "threads": _threads,
    "variable": _variable,
    "zarr": _zarr,
    "zarr-slab": _zarr_slab,
    "zip": _zip,
}
