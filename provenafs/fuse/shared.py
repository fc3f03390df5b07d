"""--allow-other: checks each request of other local users against the modes shown.

The mounting user and root may do what the data store lets the mounting user do, and get its
reasons (EROFS, EACCES) from the handlers. For anyone else the permission bits decide first, as on a
local disk (path_resolution(7)). The kernel's own check (`default_permissions`) would do the same
for everyone, and its EACCES would hide those reasons from the owner.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    RequestContext,
    SetattrFields,
    XAttrNameT,
)

from provenafs.fuse.neighbours import Indexers
from provenafs.fuse.operations import Operations
from provenafs.tree.node import Attributes
from provenafs.tree.tree import Tree

_OTHERS = 0o077
_RWX = 0o7
_SHARE_URL = b"user.provena.share_url"  # a link that needs no login, made in the mounter's name


@dataclass(frozen=True, slots=True)
class Ownership:
    """The owner shown for everything, and the permission bits to clear.

    `umask` None keeps the modes of the tree (0644 and 0755).
    """

    uid: int
    gid: int
    umask: int | None = None

    def mode(self, mode: int) -> int:
        """The mode shown: the owner's bits for everyone, less the umask.

        Private modes stay private.
        """
        if self.umask is None or not mode & _OTHERS:
            return mode
        owner = mode >> 6 & _RWX
        return stat.S_IFMT(mode) | (owner << 6 | owner << 3 | owner) & ~self.umask

    def bits(self, mode: int, uid: int, groups: frozenset[int]) -> int:
        """The permission bits (4 read, 2 write, 1 execute) that a mode gives a user."""
        if uid == self.uid:
            return mode >> 6 & _RWX
        if self.gid in groups:
            return mode >> 3 & _RWX
        return mode & _RWX


class SharedOperations(Operations):
    """The filesystem as several local users see it."""

    def __init__(self, tree: Tree, neighbours: Indexers, ownership: Ownership) -> None:
        super().__init__(tree, neighbours)
        self._ownership = ownership
        self._privileged = frozenset({0, os.getuid()})

    def _reply(self, attributes: Attributes) -> EntryAttributes:
        reply = super()._reply(attributes)
        reply.st_mode = ModeT(self._ownership.mode(attributes.mode))
        reply.st_uid, reply.st_gid = self._ownership.uid, self._ownership.gid
        return reply

    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        if ctx.uid in self._privileged:
            return await super().access(inode, mode, ctx)
        shown = (await super().getattr(inode, ctx)).st_mode
        return not mode & _RWX & ~self._ownership.bits(shown, ctx.uid, _groups(ctx))

    async def _require(self, inode: InodeT, mode: int, ctx: RequestContext) -> None:
        """EACCES unless the caller may read (R_OK), change (W_OK) or search (X_OK) it."""
        if ctx.uid in self._privileged:
            return
        if not await self.access(inode, ModeT(mode), ctx):
            raise FUSEError(errno.EACCES)

    # Operations that need a permission on the directory

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        await self._require(parent_inode, os.X_OK, ctx)
        return await super().lookup(parent_inode, name, ctx)

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        await self._require(inode, os.R_OK, ctx)
        return await super().opendir(inode, ctx)

    async def create(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> tuple[FileInfo, EntryAttributes]:
        await self._require(parent_inode, os.W_OK | os.X_OK, ctx)
        return await super().create(parent_inode, name, mode, flags, ctx)

    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        await self._require(parent_inode, os.W_OK | os.X_OK, ctx)
        return await super().mknod(parent_inode, name, mode, rdev, ctx)

    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        await self._require(parent_inode, os.W_OK | os.X_OK, ctx)
        return await super().mkdir(parent_inode, name, mode, ctx)

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._require(parent_inode, os.W_OK | os.X_OK, ctx)
        await super().rmdir(parent_inode, name, ctx)

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._require(parent_inode, os.W_OK | os.X_OK, ctx)
        await super().unlink(parent_inode, name, ctx)

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        for parent in (parent_inode_old, parent_inode_new):
            await self._require(parent, os.W_OK | os.X_OK, ctx)
        await super().rename(parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx)

    # Operations that need a permission on the file

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        wanted = {os.O_RDONLY: os.R_OK, os.O_WRONLY: os.W_OK}.get(
            flags & os.O_ACCMODE, os.R_OK | os.W_OK
        )
        await self._require(inode, wanted | (os.W_OK if flags & os.O_TRUNC else 0), ctx)
        return await super().open(inode, flags, ctx)

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """A mode is the owner's to set; a descriptor that may write may cut the file."""
        if fields.update_mode and ctx.uid not in self._privileged | {self._ownership.uid}:
            raise FUSEError(errno.EPERM)
        if fh is None or not fields.update_size:
            await self._require(inode, os.W_OK, ctx)
        return await super().setattr(inode, attr, fields, fh, ctx)

    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        if name == _SHARE_URL and ctx.uid not in self._privileged:
            raise FUSEError(errno.EACCES)
        await self._require(inode, os.R_OK, ctx)
        return await super().getxattr(inode, name, ctx)

    async def setxattr(
        self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext
    ) -> None:
        await self._require(inode, os.W_OK, ctx)
        await super().setxattr(inode, name, value, ctx)


def _groups(ctx: RequestContext) -> frozenset[int]:
    """The groups of the calling thread: FUSE passes on the first only, proc(5) has the others."""
    groups = {ctx.gid}
    with suppress(OSError):  # it is gone, or of another pid namespace
        status = Path(f"/proc/{ctx.pid}/status").read_text()
        found = re.search(r"^Groups:\t([0-9 ]*)$", status, re.MULTILINE)
        groups.update(int(group) for group in (found[1] if found else "").split())
    return frozenset(groups)
