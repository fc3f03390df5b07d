"""How much data is measured with, whole or quick."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
ROUND_TRIP_S = 0.03


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of files and sizes in bytes; a row's title names them in braces."""

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
        )


FULL = Scale(
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
    limit_s=900,
)

QUICK = Scale(
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
    limit_s=180,
)


def _size(count: int) -> str:
    return f"{count // (1024 * MIB)} GiB" if count >= 1024 * MIB else f"{count // MIB} MiB"
