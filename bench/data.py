"""The folders of files that rows read, made on the local disk first and uploaded from there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.datasets_science import SCIENCE_FOLDERS
from bench.scale import KIB, MIB, Scale

NETCDF_VARIABLES = 20
READERS = 8
_SEED = 20240131
_PATTERN_BYTES = 64 * MIB


def make_folder(name: str, folder: Path, scale: Scale) -> None:
    """Fill `folder` with the files of that name, unless it is there already."""
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _FOLDERS[name](unfinished, scale)
    unfinished.rename(folder)


def write_file(path: Path, size: int) -> None:
    """A file of `size` bytes that nothing can compress."""
    generator = random.Random(f"{_SEED} {path.name}")
    pattern = generator.randbytes(min(size, _PATTERN_BYTES))
    with path.open("wb") as file:
        while (missing := size - file.tell()) > 0:
            file.write(pattern[:missing])


def write_files(folder: Path, count: int, size: int) -> None:
    """`count` files of `size` bytes each in one folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(f"{_SEED} {folder.name}")
    for number in range(count):
        (folder / f"{number:05d}.bin").write_bytes(generator.randbytes(size))


def _large(folder: Path, scale: Scale) -> None:
    write_file(folder / "field.bin", scale.large)


def _readers(folder: Path, scale: Scale) -> None:
    for number in range(READERS):
        write_file(folder / f"{number}.bin", scale.each_reader)


def _tiny(folder: Path, scale: Scale) -> None:
    write_files(folder, scale.tiny_files, 4 * KIB)


def _medium(folder: Path, scale: Scale) -> None:
    write_files(folder, scale.medium_files, 256 * KIB)


def _eights(folder: Path, scale: Scale) -> None:
    write_files(folder, scale.eights, 8 * MIB)


def _listed(folder: Path, scale: Scale) -> None:
    _spread(folder, scale.listed_folders, scale.listed_files)


def _many(folder: Path, scale: Scale) -> None:
    _spread(folder, scale.many_folders, scale.many_files)


def _written(folder: Path, scale: Scale) -> None:
    write_files(folder, scale.written_files, 4 * KIB)


def _warm(folder: Path, scale: Scale) -> None:
    write_files(folder, 1, 4 * KIB)


def _spread(folder: Path, folders: int, files: int) -> None:
    for number in range(folders):
        write_files(folder / f"{number:04d}", files // folders, 16)


def _model(folder: Path, scale: Scale) -> None:
    import numpy
    import xarray

    generator = numpy.random.default_rng(_SEED)
    side = 512
    steps = scale.variable // (side * side * 8)
    fields = {
        f"v{number:02d}": (("t", "y", "x"), generator.random((steps, side, side)))
        for number in range(NETCDF_VARIABLES)
    }
    xarray.Dataset(fields).to_netcdf(folder / "model.nc")


_FOLDERS: dict[str, Callable[[Path, Scale], None]] = {
    **SCIENCE_FOLDERS,
    "eights": _eights,
    "large": _large,
    "listed": _listed,
    "many": _many,
    "medium": _medium,
    "model": _model,
    "readers": _readers,
    "tiny": _tiny,
    "warm": _warm,
    "written": _written,
}
