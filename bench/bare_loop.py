"""The least that pyfuse3 can do: files of the local disk, served from memory, nothing else.

What it reaches is what the kernel, libfuse, pyfuse3 and trio leave any filesystem to reach.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyfuse3
import trio

_TIMEOUT_S = 300


@dataclass(slots=True)
class _Node:
    attributes: pyfuse3.EntryAttributes
    data: memoryview
    children: dict[bytes, pyfuse3.InodeT] = field(default_factory=dict)


class BareLoop(pyfuse3.Operations):
    """Folders and files as they are now; nothing can be changed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__()
        self._nodes: dict[int, _Node] = {}
        root = self._add(None)
        for folder in folders:
            inode = self._add(None)
            self._nodes[root].children[os.fsencode(folder.name)] = inode
            for path in folder.iterdir():
                self._nodes[inode].children[os.fsencode(path.name)] = self._add(path)

    def _add(self, file: Path | None) -> pyfuse3.InodeT:
        inode = pyfuse3.InodeT(pyfuse3.ROOT_INODE + len(self._nodes))
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = inode
        attributes.attr_timeout = attributes.entry_timeout = _TIMEOUT_S
        attributes.st_mode = pyfuse3.ModeT(
            stat.S_IFDIR | 0o755 if file is None else stat.S_IFREG | 0o644
        )
        data = memoryview(b"") if file is None else _in_memory(file)
        attributes.st_size = len(data)
        self._nodes[inode] = _Node(attributes, data)
        return inode

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        return self._nodes[inode].attributes

    async def lookup(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        ctx: pyfuse3.RequestContext | None = None,
    ) -> pyfuse3.EntryAttributes:
        inode = self._nodes[parent_inode].children.get(name)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._nodes[inode].attributes

    async def opendir(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileHandleT:
        return pyfuse3.FileHandleT(inode)

    async def readdir(
        self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken
    ) -> None:
        entries = list(self._nodes[fh].children.items())
        for number, (name, inode) in enumerate(entries[start_id:], start_id + 1):
            attributes = self._nodes[inode].attributes
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), attributes, number):
                return

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        return self._nodes[fh].data[off : off + size]  # type: ignore[return-value]


def _in_memory(path: Path) -> memoryview:
    size = path.stat().st_size
    memory = mmap.mmap(-1, size)
    with path.open("rb", buffering=0) as file:
        filled = 0
        while count := file.readinto(memoryview(memory)[filled:]):
            filled += count
    return memoryview(memory)


def _main(mountpoint: str, *folders: str) -> None:
    operations = BareLoop([Path(folder) for folder in folders])
    pyfuse3.init(operations, mountpoint, {*pyfuse3.default_options, "fsname=bare-loop"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    _main(*sys.argv[1:])
