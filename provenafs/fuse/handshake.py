"""Capabilities negotiated with the kernel that libfuse does not expose.

libfuse asks for FUSE_ATOMIC_O_TRUNC, and pyfuse3 cannot take it back. The kernel then empties a
file in OPEN, without the inode's lock, so that it may set its own idea of the size to 0 after
another process has appended: the next append goes to offset 0, over those bytes. Without the flag
it opens first and empties then, by a SETATTR under the lock that writes take as well.

So INIT is answered here, while libfuse still waits for its handler: the kernel takes the first
answer, and refuses libfuse's own with ENOENT, which libfuse ignores. The formats are those of
linux/fuse.h.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_DEVICE = "/dev/fuse"
_FIRST_REQUEST = 2  # INIT; the numbers of requests are even, from Linux 4.20 on
_OUT_HEADER = struct.Struct("=IiQ")  # fuse_out_header: length, error, number of the request
# fuse_init_out: major, minor, max_readahead, flags, max_background, congestion_threshold,
# max_write, time_gran, max_pages, and 34 bytes that are not used here
_INIT_OUT = struct.Struct("=IIIIHHIIH34x")

# As libfuse 3.14 answers for pyfuse3, but for FUSE_ATOMIC_O_TRUNC (bit 3): FUSE_ASYNC_READ,
# FUSE_EXPORT_SUPPORT, FUSE_BIG_WRITES, FUSE_AUTO_INVAL_DATA, FUSE_DO_READDIRPLUS, FUSE_ASYNC_DIO,
# FUSE_MAX_PAGES. Buffers and READDIRPLUS have to be what libfuse believes them to be.
_FLAGS = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 22
_MAX_READAHEAD = 1 << 30  # bytes: the kernel takes its own if that is less
_MAX_WRITE = 1 << 20  # bytes
_MAX_PAGES = _MAX_WRITE // mmap.PAGESIZE
_LIBRARIES = ("libfuse3.so.3", "libfuse3.so.4")  # .4 from libfuse 3.17 on
_OLDEST_LIBFUSE = 310  # older ones number their versions otherwise, and may have smaller buffers


def truncate_under_lock() -> bool:
    """Answer INIT, from its handler, so that O_TRUNC and appends cannot overtake each other.

    False where that is not possible: libfuse then answers as always.
    """
    settings = _INIT_OUT.pack(7, 31, _MAX_READAHEAD, _FLAGS, 0, 0, _MAX_WRITE, 1, _MAX_PAGES)
    header = _OUT_HEADER.pack(_OUT_HEADER.size + len(settings), 0, _FIRST_REQUEST)
    try:
        os.write(_device(), header + settings)
    except OSError as error:
        log.warning("O_TRUNC takes no lock, since INIT could not be answered: %s", error)
        return False
    return True


def _device() -> int:
    """The descriptor of this process for /dev/fuse. OSError if there is not one that will do."""
    if _libfuse_version() < _OLDEST_LIBFUSE:
        raise OSError(errno.EOPNOTSUPP, "this version of libfuse is not known")
    found: list[int] = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this directory
            if str(link.readlink()) == _DEVICE:
                found.append(int(link.name))
    if len(found) != 1:
        raise OSError(errno.EBADF, f"{len(found)} descriptors for {_DEVICE}")
    return found[0]


def _libfuse_version() -> int:
    """Such as 314, of the library that pyfuse3 has loaded; 0 if it is unknown."""
    for name in _LIBRARIES:
        with suppress(OSError, AttributeError):
            return int(ctypes.CDLL(name, os.RTLD_LAZY | os.RTLD_NOLOAD).fuse_version())
    return 0
