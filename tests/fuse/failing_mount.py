"""Mounts a directory in which looking up a name fails in the way the name says."""

from __future__ import annotations

import errno
import stat
import sys
from types import SimpleNamespace
from typing import Any

import pyfuse3
import trio

from provenafs.errors import FSError
from provenafs.fuse.neighbours import Indexers
from provenafs.fuse.operations import Operations
from provenafs.guard import in_thread
from provenafs.provena.errors import Unauthorised
from provenafs.s3.errors import AccessDenied
from provenafs.tree.node import Attributes, Node, Snapshot


class RustPanic(BaseException):
    """As pyo3 raises for a panic: no Exception."""


class Failing(Node):
    async def attributes(self) -> Attributes:
        return Attributes(self.ino, stat.S_IFDIR | 0o555)

    async def listing(self) -> Snapshot:
        return Snapshot([])

    async def lookup(self, name: str) -> Node:
        match name:
            case "RuntimeError":
                raise RuntimeError("what was never thought of")
            case "AssertionError":
                raise AssertionError
            case "panic":
                raise RustPanic
            case "panic-in-a-thread":
                await in_thread(_panic)
            case "group-of-panics":
                raise BaseExceptionGroup("", [RustPanic(), ValueError()])
            case "group-of-one":
                raise ExceptionGroup("", [ExceptionGroup("", [FSError(errno.EROFS)])])
            case "group-of-two":
                raise ExceptionGroup("", [FSError(errno.EROFS), ValueError()])
            case "s3":
                raise AccessDenied("no")
            case "untellable":
                raise FSError(errno.EACCES, "untellable")
        raise Unauthorised("no")


def _panic() -> None:
    raise RustPanic


class FailingTree:
    """As little of a tree as a lookup needs."""

    context = SimpleNamespace(catalog=SimpleNamespace(ttl=0.0))

    def node(self, ino: int) -> Node:
        return Failing(ino)

    def path(self, ino: int) -> str:
        return f"/{ino}"

    def hold(self, node: Node) -> None: ...

    def let_go(self, ino: int) -> None: ...

    def record_error(self, ino: int, error: FSError) -> None:
        if error.message == "untellable":
            raise OSError(errno.ENOSPC, "no room for words")


async def main(path: str) -> None:
    tree: Any = FailingTree()
    pyfuse3.init(Operations(tree, Indexers(())), path, {"fsname=failing"})
    print("ready", flush=True)
    try:
        await pyfuse3.main()
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
