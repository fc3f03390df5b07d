"""A segment: a range of one object version, and its row."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

GRANULE = 64 * 1024  # bytes; what is kept begins and ends at its multiples
SEGMENT = 8 * 1024 * 1024  # bytes

Row = tuple[int, int, bytes, bytes, bytes | None]
COLUMNS = "id, number, present, sums, data"


class Damaged(Exception):
    """A segment's bytes are not what was written."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A row: which granules are present, as bits, the XXH3 of each, and a small object's bytes."""

    id: int
    number: int
    present: int
    sums: array[int]
    data: bytes | None

    @classmethod
    def of(cls, row: Row) -> Segment:
        """From the columns of a row. Raises Damaged."""
        number, present, sums, data = row[1:]
        try:
            return cls(row[0], number, int.from_bytes(present, "little"), array("Q", sums), data)
        except (TypeError, ValueError) as error:
            raise Damaged(f"the row of segment {row[0]} is damaged") from error

    def has(self, granules: int) -> bool:
        """Whether these granules, as bits, are all present."""
        return self.present & granules == granules

    def matches(self, offset: int, data: memoryview) -> bool:
        """Whether the checksums are those of the bytes at `offset`, which begins a granule."""
        sums = checksums(data)
        first = offset // GRANULE
        return self.sums[first : first + len(sums)].tolist() == sums


def granules(start: int, end: int) -> int:
    """The granules that [start, end), in bytes of the segment, touches, as bits."""
    return (1 << -(-end // GRANULE)) - (1 << start // GRANULE)


def checksums(data: memoryview) -> list[int]:
    """The XXH3 of each granule."""
    return [xxh3_64_intdigest(data[at : at + GRANULE]) for at in range(0, len(data), GRANULE)]
