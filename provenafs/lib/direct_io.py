"""Reads and writes of local files, through the page cache or with O_DIRECT.

Past it go large pieces of what the mount shows: the kernel caches that anyway, and a second copy
costs memory, and more time than the disk needs (open(2), O_DIRECT).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ALIGNMENT = 4096  # bytes; of offsets and lengths
WORTHWHILE = 1024 * 1024  # bytes; less is left to the page cache


def read_at(file: int, into: memoryview, offset: int) -> int:
    """Fill `into`, as far as the file goes; returns how many bytes came."""
    done = 0
    while count := os.preadv(file, [into[done:]], offset + done):
        done += count
    return done


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of `data`."""
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)


def read_directly(file: int, into: memoryview, offset: int) -> int:
    """As `read_at`, past the page cache where the disk allows it and it is worthwhile."""
    done = 0
    aligned = _aligned(into, offset)
    if aligned:
        with suppress(OSError), _direct(file, os.O_RDONLY) as direct:
            done = read_at(direct, into[:aligned], offset)
    return done + read_at(file, into[done:], offset + done)


def write_directly(file: int, data: memoryview, offset: int) -> None:
    """As `write_at`, past the page cache where the disk allows it and it is worthwhile."""
    done = 0
    aligned = _aligned(data, offset)
    if aligned:
        with suppress(OSError), _direct(file, os.O_WRONLY) as direct:
            while done < aligned:
                done += os.pwrite(direct, data[done:aligned], offset + done)
    # The rest is written the usual way, which reports the error if it fails too.
    write_at(file, data[done:], offset + done)


def data_ranges(file: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file of `size` bytes that are no holes: at least all that was written."""
    start = end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a hole up to the end
                raise
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


@contextmanager
def _direct(file: int, mode: int) -> Iterator[int]:
    """A descriptor of one's own for the same file: the flag is set for all users of one."""
    direct = os.open(f"/proc/self/fd/{file}", mode | os.O_DIRECT | os.O_CLOEXEC)
    try:
        yield direct
    finally:
        os.close(direct)


def _aligned(data: memoryview, offset: int) -> int:
    """How many of the bytes can go directly."""
    if len(data) < WORTHWHILE or offset % ALIGNMENT:
        return 0
    return len(data) // ALIGNMENT * ALIGNMENT
