"""Replies to the kernel: attributes of files and of the filesystem."""

from __future__ import annotations

import os

from pyfuse3 import EntryAttributes, InodeT, ModeT, StatvfsData

from provenafs.tree.names import MAX_NAME_BYTES
from provenafs.tree.node import Attributes

_UID, _GID = os.getuid(), os.getgid()  # asked once: a reply is made for every name of a listing
_BLOCK_SIZE = 4096
_CAPACITY_BLOCKS = 2**50 // _BLOCK_SIZE  # df shows 1 PiB: S3 reports no capacity


def entry_attributes(attributes: Attributes) -> EntryAttributes:
    """The reply to stat(2); files belong to the user who mounted them."""
    reply = EntryAttributes()
    reply.st_ino = InodeT(attributes.ino)
    reply.st_mode = ModeT(attributes.mode)
    reply.st_nlink = 1  # find must not conclude from it how many directories there are
    reply.st_uid, reply.st_gid = _UID, _GID
    reply.st_size = attributes.size
    # Never less than the size: tar --sparse and cp --sparse take missing blocks for zeros.
    reply.st_blocks = -(-attributes.size // 512)
    reply.st_blksize = _BLOCK_SIZE
    mtime_ns, ctime_ns = attributes.mtime_ns, attributes.ctime_ns
    reply.st_atime_ns = reply.st_mtime_ns = mtime_ns
    reply.st_ctime_ns = mtime_ns if ctime_ns is None else ctime_ns
    reply.entry_timeout = reply.attr_timeout = attributes.timeout
    return reply


def no_entry(timeout: float) -> EntryAttributes:
    """Inode 0: the kernel remembers for so many seconds that there is no such name."""
    reply = EntryAttributes()
    reply.st_ino = InodeT(0)
    reply.entry_timeout = timeout
    return reply


def capacity() -> StatvfsData:
    """The answer to statfs(2)."""
    reply = StatvfsData()
    reply.f_bsize = reply.f_frsize = _BLOCK_SIZE
    reply.f_blocks = reply.f_bfree = reply.f_bavail = _CAPACITY_BLOCKS
    reply.f_files = reply.f_ffree = reply.f_favail = 2**32
    reply.f_namemax = MAX_NAME_BYTES
    return reply
