"""Large reads and writes of local files past the kernel's page cache, where the disk allows it.

The kernel caches what the mount shows anyway; a second copy of it costs memory, and more time than
the disk needs (open(2), O_DIRECT).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from provenafs.s3.buffers import pages

_ALIGNMENT = 4096  # bytes; of offsets, lengths and memory
_WORTHWHILE = 1024 * 1024  # bytes; less is left to the page cache
_BOUNCE = 2 * 1024 * 1024  # bytes; a huge page
_bounces: list[memoryview] = []  # aligned memory not in use, as many as there were writers at once


def buffer(size: int) -> memoryview:
    """Memory of `size` bytes, all zero, that can be read into directly."""
    if size < _WORTHWHILE:
        return memoryview(bytearray(size))
    return memoryview(pages(size))


def read_at(file: int, into: memoryview, offset: int) -> int:
    """Fill `into`, as far as the file goes; returns how many bytes came."""
    done = 0
    aligned = _aligned(into, offset)
    if aligned:
        with suppress(OSError), _direct(file, os.O_RDONLY) as direct:
            done = _read(direct, into[:aligned], offset)
    return done + _read(file, into[done:], offset + done)


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of `data`."""
    done = 0
    aligned = _aligned(data, offset)
    if aligned:
        with suppress(OSError), _direct(file, os.O_WRONLY) as direct:
            done = _write_directly(direct, data[:aligned], offset)
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)


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
    if len(data) < _WORTHWHILE or offset % _ALIGNMENT:
        return 0
    return len(data) // _ALIGNMENT * _ALIGNMENT


def _read(file: int, into: memoryview, offset: int) -> int:
    done = 0
    while done < len(into):
        count = os.preadv(file, [into[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def _write_directly(file: int, data: memoryview, offset: int) -> int:
    """Write past the page cache; returns how many bytes were written before the disk refused."""
    done, end = 0, len(data)
    bounce = _bounces.pop() if _bounces else memoryview(pages(_BOUNCE))
    try:
        while done < end:
            piece = data[done : min(done + _BOUNCE, end)]
            count = _pwrite(file, piece, offset + done, bounce)
            done += count
            if count < len(piece):
                break
    except OSError:
        pass  # what is left is written the usual way, which tells why if it fails as well
    finally:
        _bounces.append(bounce)
    return done


def _pwrite(file: int, piece: memoryview, offset: int, bounce: memoryview) -> int:
    """Write from where the bytes are, or by way of `bounce` where their memory is not aligned."""
    try:
        return os.pwrite(file, piece, offset)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    bounce[: len(piece)] = piece
    return os.pwrite(file, bounce[: len(piece)], offset)
