"""The files of the sample datasets: real ones that installed packages carry, and generated ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from provenafs.sandbox.errors import SandboxError

File = tuple[str, bytes]
"""A path inside the dataset and its content; a path that ends in a slash is an empty folder."""
Files = Callable[[], Iterator[File]]

_IRIS, _VEGA, _PENGUINS = "iris_sample_data", "vega_datasets", "palmerpenguins"
_STATIONS, _STATIONS_PER_REGION = 5000, 100
_VARIABLES, _STEPS, _SIDE = 20, 14, 256
_RAW_BYTES = 65 * 1024 * 1024 + 4321
_SEED = 20240131


class MissingPackage(SandboxError):
    """A package that carries sample files is not installed."""


def ocean() -> Iterator[File]:
    """NetCDF of ocean and climate models and observations, and a folder of Met Office fields."""
    root = _package(_IRIS) / "sample_data"
    for folder, names in {
        "observations": ("ostia_monthly.nc", "atlantic_profiles.nc", "SOI_Darwin.nc"),
        "satellite": ("toa_brightness_stereographic.nc",),
        "models": ("orca2_votemper.nc", "hybrid_height.nc", "rotated_pole.nc"),
        "models/scenarios/A1B": ("A1B_north_america.nc",),
        "models/scenarios/E1": ("E1_north_america.nc",),
    }.items():
        for name in names:
            yield f"{folder}/{name}", (root / name).read_bytes()
    yield from _folder(root / "NEMO", "models/NEMO", "*.nc")
    yield from _folder(root / "UM", "models/UM/1890", "*.1890.*.pp")
    yield "README.txt", b"Sea surface and climate fields. Start with observations.\n"


def penguins() -> Iterator[File]:
    """The Palmer penguins, as measured and as tidied."""
    return _folder(_package(_PENGUINS) / "data", "", "*.csv")


def awkward_names() -> Iterator[File]:
    """Tables under names with blanks, quotes, other scripts and emoji, deep down or empty."""
    root = _package(_VEGA) / "_data"
    for name, path in {
        "seattle-weather.csv": "Wetter/Größe und Höhe/seattle weather.csv",
        "sf-temps.csv": "données météo/été 2010/températures.csv",
        "airports.csv": "transport/airports.csv",
        "stocks.csv": "finance/stocks & shares (2000–2010).csv",
        "cars.json": "transport/'quoted' \"cars\" #1.json",
        "iris.json": "数据/鸢尾花.json",
        "wheat.json": "percent%20and+plus/100% wheat.json",
        "barley.json": "emoji 🌾/barley.json",
        "anscombe.json": "deep/" + "".join(f"level {n}/" for n in range(1, 13)) + "anscombe.json",
        "ohlc.json": " leading and trailing blank .json",
        "driving.json": "-dash/--flag.json",
        "crimea.json": "CaseTest/crimea.json",
        "burtin.json": "casetest/burtin.json",
    }.items():
        yield path, (root / name).read_bytes()
    yield "an empty folder/", b""
    yield "nothing in it.txt", b""
    # The same letters decomposed: two names that look alike and are not the same.
    yield "composed/caf\u00e9.txt", b"composed\n"
    yield "composed/cafe\u0301.txt", b"decomposed\n"
    yield ".hidden/.dotfile", b"visible to ls -a\n"
    yield "n" * 251 + ".txt", b"a name of 255 bytes\n"


def stations() -> Iterator[File]:
    """5,000 small tables in 50 folders."""
    for number in range(_STATIONS):
        region = number // _STATIONS_PER_REGION
        rows = "".join(
            f"2024-01-{day:02},{(number * 31 + day * 17) % 400 / 10:.1f}\n" for day in range(1, 11)
        )
        path = f"region-{region:02}/station-{number:04}.csv"
        yield path, f"# station {number}\ndate,temperature\n{rows}".encode()


def large() -> Iterator[File]:
    """A NetCDF file of twenty variables and a file without structure, each over 64 MiB."""
    yield "fields/climate_fields.nc", _climate_fields()
    yield "raw/noise.bin", _noise(_RAW_BYTES)


def survey(year: int) -> Files:
    """A small table that differs from year to year, with a note."""

    def files() -> Iterator[File]:
        rows = "".join(f"{site},{(year * site) % 97}\n" for site in range(1, 41))
        yield "survey.csv", f"site,corals\n{rows}".encode()
        yield f"notes/{year}.txt", f"Surveyed in {year}.\n".encode()

    return files


def note(text: str) -> Files:
    """One text file and one folder with a table."""

    def files() -> Iterator[File]:
        yield "note.txt", f"{text}\n".encode()
        yield "tables/values.csv", b"key,value\na,1\nb,2\n"

    return files


def nothing() -> Iterator[File]:
    """No files at all."""
    return iter(())


def _package(name: str) -> Path:
    """Where a package lies. It is not imported, which for some takes longer than reading it all."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage(
            f"The sample files need the package {name.replace('_', '-')};"
            " install provenafs with its extra `sandbox`."
        )
    return Path(spec.submodule_search_locations[0])


def _folder(source: Path, target: str, pattern: str) -> Iterator[File]:
    for path in sorted(source.glob(pattern)):
        yield f"{target}/{path.name}".lstrip("/"), path.read_bytes()


def _climate_fields() -> bytes:
    # Imported here because it takes a while and only the first start of a sandbox needs it.
    import netCDF4
    import numpy as np

    random = np.random.default_rng(_SEED)
    dataset = netCDF4.Dataset("climate_fields.nc", "w", memory=1)
    dataset.title = "Generated fields"
    for name, size in (("time", _STEPS), ("lat", _SIDE), ("lon", _SIDE)):
        dataset.createDimension(name, size)
    for name, low, high in (("lat", -90, 90), ("lon", 0, 360)):
        dataset.createVariable(name, "f8", (name,))[:] = np.linspace(low, high, _SIDE)
    for number in range(_VARIABLES):
        variable = dataset.createVariable(f"field_{number:02}", "f4", ("time", "lat", "lon"))
        variable.units = "K"
        shape = (_STEPS, _SIDE, _SIDE)
        variable[:] = random.standard_normal(shape, dtype=np.float32) + np.float32(273 + number)
    return bytes(dataset.close())


def _noise(size: int) -> bytes:
    import numpy as np

    return np.random.default_rng(_SEED).bytes(size)
