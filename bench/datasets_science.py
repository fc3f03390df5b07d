"""The folders that the rows of science read, written by the libraries that write such files."""

from __future__ import annotations

import random
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.scale import KIB, MIB, Scale

HDF5_FILE = "hdf5/series.h5"
HDF5_VARIABLE = "temperature"
COG_FILE = "cog/scene.tif"
ZIP_FILE = "zip/members.zip"
ZARR_STORE = "zarr/field.zarr"
TEXT_WORD = "Murrumbidgee"
COG_BLOCK = 512
_HDF5_SIDE = 512
_HDF5_CHUNK = 256
_SEED = 20240131
_NETCDF_STEPS = 24
_NETCDF_GRID = (72, 144)
_PARQUET_COLUMNS = 10
_PARQUET_BYTES = 8 * MIB
_ZIP_MEMBER = 100_000
_ZARR_CHUNK = 64
_ZARR_ROW = 10
_TEXT_BYTES = 4 * KIB
_WITH_WORD = 100
_IN_FOLDER = 50


def _hdf5(folder: Path, scale: Scale) -> None:
    """Steps of 1 MiB in four chunks of 256 KiB each, so that a point crosses every fourth chunk."""
    import h5py

    generator = _numbers()
    shape = (_HDF5_SIDE, _HDF5_SIDE)
    chunks = (1, _HDF5_CHUNK, _HDF5_CHUNK)
    with h5py.File(folder / Path(HDF5_FILE).name, "w") as file:
        variable = file.create_dataset(
            HDF5_VARIABLE, (scale.hdf5_steps, *shape), dtype="f4", chunks=chunks
        )
        for step in range(scale.hdf5_steps):
            variable[step] = generator.random(shape, dtype="f4")


def _netcdf(folder: Path, scale: Scale) -> None:
    """One file a day, each with two compressed variables of 24 hours in chunks of one hour."""
    import numpy
    import pandas
    import xarray

    generator = _numbers()
    rows, columns = _NETCDF_GRID
    latitude = numpy.linspace(-90, 90, rows)
    longitude = numpy.linspace(0, 357.5, columns)
    storage = {"zlib": True, "complevel": 1, "chunksizes": (1, rows, columns)}
    for number, day in enumerate(pandas.date_range("2024-01-01", periods=scale.netcdf_files)):
        fields = {
            name: (("time", "lat", "lon"), generator.random((_NETCDF_STEPS, rows, columns), "f4"))
            for name in ("t2m", "wind")
        }
        hours = pandas.date_range(day, periods=_NETCDF_STEPS, freq="h")
        places = {"time": hours, "lat": latitude, "lon": longitude}
        xarray.Dataset(fields, places).to_netcdf(
            folder / f"day-{number:03d}.nc",
            engine="netcdf4",
            encoding={
                **dict.fromkeys(fields, storage),
                "time": {"units": "hours since 2024-01-01"},
            },
        )


def _zarr(folder: Path, scale: Scale) -> None:
    """Format 3, 100 chunks of 16 KiB to a slab, one object each."""
    import zarr

    side = _ZARR_CHUNK * _ZARR_ROW
    array = zarr.create_array(
        str(folder / Path(ZARR_STORE).name),
        shape=(scale.zarr_slabs, side, side),
        chunks=(1, _ZARR_CHUNK, _ZARR_CHUNK),
        dtype="float32",
        compressors=None,
        zarr_format=3,
    )
    generator = _numbers()
    for slab in range(scale.zarr_slabs):
        array[slab] = generator.random((side, side), dtype="f4")


def _parquet(folder: Path, scale: Scale) -> None:
    """Ten columns of integers, in files of 8 MiB."""
    import pyarrow
    from pyarrow import parquet

    generator = _numbers()
    rows = _PARQUET_BYTES // _PARQUET_COLUMNS // 8
    for number in range(scale.parquet_files):
        columns = {
            f"c{column}": generator.integers(-(2**62), 2**62, rows)
            for column in range(_PARQUET_COLUMNS)
        }
        table = pyarrow.table(columns)
        parquet.write_table(table, folder / f"part-{number:03d}.parquet", use_dictionary=False)


def _cog(folder: Path, scale: Scale) -> None:
    """A cloud-optimised GeoTIFF of floats, in tiles of 1 MiB, with overviews."""
    import rasterio
    from rasterio.shutil import copy

    generator = _numbers()
    side = scale.cog_side
    plain = folder / "plain.tif"
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 1,
        "dtype": "float32",
        "tiled": True,
        "blockxsize": COG_BLOCK,
        "blockysize": COG_BLOCK,
        "crs": "EPSG:32755",
        "transform": rasterio.transform.from_origin(300_000, 6_100_000, 10, 10),
    }
    with rasterio.open(plain, "w", **profile) as raster:
        for _, window in raster.block_windows(1):
            shape = (int(window.height), int(window.width))
            raster.write(generator.random(shape, dtype="f4"), 1, window=window)
    copy(plain, folder / Path(COG_FILE).name, driver="COG", compress="NONE", blocksize=COG_BLOCK)
    plain.unlink()


def _zip(folder: Path, scale: Scale) -> None:
    generator = random.Random(_SEED)
    with zipfile.ZipFile(folder / Path(ZIP_FILE).name, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(scale.zip_members):
            archive.writestr(f"member-{number:04d}.bin", generator.randbytes(_ZIP_MEMBER))


def _texts(folder: Path, scale: Scale) -> None:
    generator = random.Random(_SEED)
    for number in range(scale.tiny_files):
        text = _text(generator, with_word=number % _WITH_WORD == 0)
        (folder / f"{number:05d}.txt").write_bytes(text)


def _repository(folder: Path, scale: Scale) -> None:
    """A work tree with everything committed, its objects in one pack."""
    generator = random.Random(_SEED)
    for number in range(scale.repository_files):
        path = folder / f"part-{number // _IN_FOLDER:03d}" / f"{number:05d}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_text(generator, with_word=False))
    who = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org")
    for arguments in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        (*who, "commit", "-q", "-m", "All files"),
        ("gc", "-q"),
        ("tag", "loose"),  # without a file in it, refs would be no folder in S3
    ):
        subprocess.run(["git", "-C", folder, *arguments], check=True)


def _text(generator: random.Random, with_word: bool) -> bytes:
    """About 4 KiB of lines of made-up words."""
    words = [
        "".join(generator.choices("aeioulnrst", k=generator.randint(3, 9)))
        for _ in range(_TEXT_BYTES // 7)
    ]
    if with_word:
        words[len(words) // 2] = TEXT_WORD
    return "".join(_lines(words)).encode()


def _lines(words: list[str]) -> Iterator[str]:
    for start in range(0, len(words), 10):
        yield " ".join(words[start : start + 10]) + "\n"


def _numbers() -> Any:
    import numpy

    return numpy.random.default_rng(_SEED)


SCIENCE_FOLDERS: dict[str, Callable[[Path, Scale], None]] = {
    "cog": _cog,
    "hdf5": _hdf5,
    "netcdf": _netcdf,
    "parquet": _parquet,
    "repository": _repository,
    "texts": _texts,
    "zarr": _zarr,
    "zip": _zip,
}
