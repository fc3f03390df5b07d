"""Mounts a directory that passes for a provenafs and names another process as the one behind it.

Arguments: the directory, and the process id to name. SIGTERM ends it, as any program.
"""

from __future__ import annotations

import errno
import json
import stat
import sys
from typing import Any

import pyfuse3
import trio

NAMES = {(1, b".provenafs"): 2, (2, b"status.json"): 3}


class Lying(pyfuse3.Operations):
    def __init__(self, pid: int) -> None:
        super().__init__()
        self._text = json.dumps({"pid": pid}).encode()

    async def getattr(self, inode: Any, ctx: Any) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFREG | 0o444 if inode == 3 else stat.S_IFDIR | 0o555
        entry.st_size = len(self._text) if inode == 3 else 0
        return entry

    async def lookup(self, parent_inode: Any, name: Any, ctx: Any) -> pyfuse3.EntryAttributes:
        if (parent_inode, name) not in NAMES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(NAMES[parent_inode, name], ctx)

    async def open(self, inode: Any, flags: Any, ctx: Any) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode)

    async def read(self, fh: Any, off: int, size: int) -> bytes:
        return self._text[off : off + size]

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        return pyfuse3.StatvfsData()


async def main(path: str, pid: str) -> None:
    options = {"fsname=provena:default", "subtype=provenafs"}
    pyfuse3.init(Lying(int(pid)), path, options)
    print("ready", flush=True)
    await pyfuse3.main()
    pyfuse3.close(unmount=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
