"""Which bytes of a file the works need, as the library that wrote it says: offset and length."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from bench.datasets_science import COG_BLOCK, HDF5_VARIABLE
from bench.works import COG_REDUCED, EVERY, PIECE, POINT, places, window_places

Ranges = list[tuple[int, int]]
RangesOf = Callable[[Path, int], Ranges]


def of_hdf5(path: Path, _: int) -> Ranges:
    """The chunks of the series."""
    import h5py

    with h5py.File(path) as file:
        variable = file[HDF5_VARIABLE]
        first = tuple(at - at % step for at, step in zip(POINT, variable.chunks[1:], strict=True))
        chunks = [
            variable.id.get_chunk_info_by_coord((step, *first)) for step in range(len(variable))
        ]
        return [(chunk.byte_offset, chunk.size) for chunk in chunks]


def of_cog(path: Path, _: int) -> Ranges:
    """The tiles that the windows touch, each once, and all of the overview."""
    import rasterio

    with rasterio.open(path) as raster:
        level = raster.overviews(1).index(COG_REDUCED)
        reduced = range(-(-raster.width // COG_REDUCED // COG_BLOCK))
        wanted: list[tuple[int, int, int | None]] = [
            *((row, column, None) for row, column in _tiles(raster.width)),
            *((row, column, level) for row in reduced for column in reduced),
        ]

        def tag(what: str, row: int, column: int, overview: int | None) -> int:
            name = f"BLOCK_{what}_{column}_{row}"
            return int(raster.get_tag_item(name, "TIFF", bidx=1, ovr=overview))

        return [(tag("OFFSET", *tile), tag("SIZE", *tile)) for tile in wanted]


def of_zip(path: Path, _: int) -> Ranges:
    """The members with the header before each."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        starts = [member.header_offset for member in members] + [archive.start_dir]
    return [
        (starts[number], starts[number + 1] - starts[number])
        for number in range(0, len(members), EVERY)
    ]


def of_threads(path: Path, count: int) -> Ranges:
    """All the pieces."""
    return [(place, PIECE) for place in places(path.stat().st_size, PIECE, count)]


def _tiles(side: int) -> list[tuple[int, int]]:
    found: dict[tuple[int, int], None] = {}
    for top, left in window_places(side):
        for row in {top // COG_BLOCK, (top + COG_BLOCK - 1) // COG_BLOCK}:
            for column in {left // COG_BLOCK, (left + COG_BLOCK - 1) // COG_BLOCK}:
                found[row, column] = None
    return list(found)
