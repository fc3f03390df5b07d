"""How much data is measured with, whole or quick."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
ROUND_TRIP_S = 0.03
CONNECTION_BYTES_S = 25_000_000
"""What S3 gives one connection at least, however wide the network is."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of files and sizes in bytes; a row's title names them in braces."""

    name: str
    rounds: int
    large: int
    """Size of the one large file, and of each written one."""
    each_reader: int
    tiny_files: int
    medium_files: int
    listed_files: int
    listed_folders: int
    many_files: int
    many_folders: int
    variable: int
    """Size of one of the twenty variables of the NetCDF file."""
    random_reads: int
    written_files: int
    each_writer: int
    pieces: int
    """How many pieces of 64 KiB several threads read at random."""
    cached_preads: int
    cached_faults: int
    hdf5_steps: int
    cog_side: int
    """Width and height of the GeoTIFF in pixels."""
    zip_members: int
    netcdf_files: int
    parquet_files: int
    zarr_slabs: int
    repository_files: int
    eights: int
    """Files of 8 MiB."""
    limit_s: float
    """How long one measurement may take before it is given up."""

    def describe(self, title: str) -> str:
        """A row's title with the numbers of this scale in it."""
        return title.format(
            large=_size(self.large),
            tiny=f"{self.tiny_files:,}",
            medium=f"{self.medium_files:,}",
            listed=f"{self.listed_files:,}",
            many=f"{self.many_files:,}",
            folders=f"{self.many_folders:,}",
            written=f"{self.written_files:,}",
            writer=_size(self.each_writer),
            pieces=self.pieces,
            hdf5=self.hdf5_steps,
            cog=_size(self.cog_side**2 * 4 * 4 // 3),
            members=f"{self.zip_members:,}",
            netcdf=self.netcdf_files,
            parquet=self.parquet_files,
            chunks=f"{self.zarr_slabs * 100:,}",
            repository=f"{self.repository_files:,}",
            eights=self.eights,
        )


FULL = Scale(
    name="full",
    rounds=3,
    large=1024 * MIB,
    each_reader=256 * MIB,
    tiny_files=2000,
    medium_files=500,
    listed_files=5000,
    listed_folders=50,
    many_files=100_000,
    many_folders=1000,
    variable=8 * MIB,
    random_reads=200,
    written_files=1000,
    each_writer=1024 * MIB,
    pieces=400,
    cached_preads=4000,
    cached_faults=800,
    hdf5_steps=400,
    cog_side=7680,
    zip_members=1000,
    netcdf_files=100,
    parquet_files=40,
    zarr_slabs=20,
    repository_files=5000,
    eights=200,
    limit_s=900,
)

QUICK = Scale(
    name="quick",
    rounds=1,
    large=128 * MIB,
    each_reader=32 * MIB,
    tiny_files=200,
    medium_files=50,
    listed_files=1000,
    listed_folders=10,
    many_files=5000,
    many_folders=50,
    variable=2 * MIB,
    random_reads=50,
    written_files=100,
    each_writer=128 * MIB,
    pieces=80,
    cached_preads=1000,
    cached_faults=100,
    hdf5_steps=50,
    cog_side=4096,
    zip_members=100,
    netcdf_files=10,
    parquet_files=4,
    zarr_slabs=4,
    repository_files=500,
    eights=10,
    limit_s=180,
)


def _size(count: int) -> str:
    return f"{count // (1024 * MIB)} GiB" if count >= 1024 * MIB else f"{count // MIB} MiB"
