"""Large reads and writes of local files past the kernel's page cache, where the disk allows it.

The kernel caches what the mount shows anyway; a second copy of it costs memory, and more time than
the disk needs (open(2), O_DIRECT).
"""

from __future__ import annotations

import fcntl
import mmap
import os

_ALIGNMENT = 4096  # bytes; of offsets, lengths and memory
_WORTHWHILE = 1024 * 1024  # bytes; less is left to the page cache
_BOUNCE = 1024 * 1024
_bounces: list[memoryview] = []  # aligned memory not in use, as many as there were writers at once


def buffer(size: int) -> memoryview:
    """Memory of `size` bytes that can be read into directly."""
    if size < _WORTHWHILE:
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def read_at(file: int, into: memoryview, offset: int) -> int:
    """Fill `into`, as far as the file goes; returns how many bytes came."""
    aligned = _aligned(into, offset)
    done = 0
    if aligned and _set_direct(file, on=True):
        try:
            done = _read(file, into[:aligned], offset)
        except OSError:
            done = 0
        finally:
            _set_direct(file, on=False)
    return done + _read(file, into[done:], offset + done)


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of `data`."""
    done = 0
    if _aligned(data, offset) and _set_direct(file, on=True):
        try:
            done = _write_directly(file, data, offset)
        finally:
            _set_direct(file, on=False)
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)


def _aligned(data: memoryview, offset: int) -> int:
    """How many of the bytes can go directly."""
    if len(data) < _WORTHWHILE or offset % _ALIGNMENT:
        return 0
    return len(data) // _ALIGNMENT * _ALIGNMENT


def _set_direct(file: int, *, on: bool) -> bool:
    """Whether the file system knows direct access."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True


def _read(file: int, into: memoryview, offset: int) -> int:
    done = 0
    while done < len(into):
        count = os.preadv(file, [into[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def _write_directly(file: int, data: memoryview, offset: int) -> int:
    """Write from aligned memory; returns how many bytes were written before the disk refused."""
    done, end = 0, _aligned(data, offset)
    bounce = _bounces.pop() if _bounces else memoryview(mmap.mmap(-1, _BOUNCE))
    try:
        while done < end:
            piece = data[done : min(done + _BOUNCE, end)]
            bounce[: len(piece)] = piece
            count = os.pwrite(file, bounce[: len(piece)], offset + done)
            done += count
            if count < len(piece):
                break
    except OSError:
        pass  # what is left is written the usual way, which tells why if it fails as well
    finally:
        _bounces.append(bounce)
    return done
