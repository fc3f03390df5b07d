"""pyfuse3 handlers: from inode numbers, bytes and flags to nodes and handles, and back."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
    XAttrNameT,
)

from provenafs.errors import FSError
from provenafs.fuse.callers import Callers
from provenafs.fuse.handshake import truncate_under_lock
from provenafs.fuse.neighbours import Indexers
from provenafs.fuse.replies import capacity, entry_attributes, no_entry
from provenafs.guard import as_failure
from provenafs.tree.failures import as_fs_error
from provenafs.tree.names import MAX_NAME_BYTES
from provenafs.tree.node import Attributes, DirectoryHandle, Handle, Node
from provenafs.tree.tree import Tree

log = logging.getLogger(__name__)

_XATTR_PREFIX = b"user.provena."
_PERMISSIONS = 0o777
_NEGATIVE_S = 5.0  # at most, since another client may make the name

# Errors that a person should find in the log and in last-error.txt; the others are everyday
# answers of a filesystem (ENOENT, ENODATA, EISDIR …).
_REPORTED = frozenset(
    {
        errno.EACCES,
        errno.EFBIG,
        errno.EINVAL,
        errno.EIO,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    }
)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Handler = Callable[Concatenate["Operations", int, _P], Coroutine[Any, Any, _R]]


def _guard(
    inode: Callable[[Operations, int], int], *, by_name: bool = False
) -> Callable[[_Handler[_P, _R]], _Handler[_P, _R]]:
    """Let nothing but FUSEError leave a handler: any other exception would end the mount.

    `inode` finds the inode number that a handler's first argument stands for; `by_name`: its
    second argument is a name in that directory.
    """

    def decorate(handler: _Handler[_P, _R]) -> _Handler[_P, _R]:
        name = handler.__name__

        async def guarded(
            self: Operations, number: int, /, *args: _P.args, **kwargs: _P.kwargs
        ) -> _R:
            self.counts[name] += 1
            try:
                return await handler(self, number, *args, **kwargs)
            except FUSEError:
                raise
            except trio.Cancelled:
                # The mount ends: without an answer the kernel would keep what it holds for this.
                raise FUSEError(errno.EIO) from None
            except BaseException as error:
                child = args[0] if by_name else b""
                assert isinstance(child, bytes)
                find, failure = partial(inode, self, number), as_failure(error)
                raise FUSEError(self._answer(name, find, child, failure)) from None

        return guarded

    return decorate


_by_inode = _guard(lambda operations, ino: ino)
_by_name = _guard(lambda operations, ino: ino, by_name=True)
_by_file = _guard(lambda operations, fh: operations._files[fh][0])
_by_directory = _guard(lambda operations, fh: operations._directories[fh][0])


class Operations(pyfuse3.Operations):
    """The filesystem as the kernel sees it. Holds the open handles and nothing else."""

    enable_writeback_cache = False

    def __init__(self, tree: Tree, neighbours: Indexers) -> None:
        super().__init__()
        self.tree = tree
        self._neighbours = neighbours
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._files: dict[int, tuple[int, Handle, int]] = {}  # inode, handle, who opened it
        self.callers = Callers()
        self._directories: dict[int, tuple[int, DirectoryHandle]] = {}
        self._cuts: dict[int, tuple[int, trio.Event]] = {}  # by inode
        self._unread: set[int] = set()  # directories that nothing was read of

    def init(self) -> None:
        """Negotiate capabilities with the kernel (FUSE_INIT)."""
        truncate_under_lock()

    def account(self) -> dict[str, object]:
        """Counts of operations and errors, for `.provenafs/status.json`."""
        return {
            "open_handles": len(self._files) + len(self._directories),
            "operations": dict(self.counts),
            "errors": dict(self.errors),
        }

    def note_failure(self, ino: int, error: Exception) -> None:
        """Keep the words of a failure that no operation could answer with."""
        self._describe("storing", ino, b"", error)

    # Names

    @_by_name
    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        if len(name) > MAX_NAME_BYTES:
            raise FUSEError(errno.ENAMETOOLONG)
        node = self.tree.node(parent_inode)
        try:
            child = await node.lookup(_decode(name, errno.ENOENT))
            return self._reply(await child.attributes())
        except Exception as error:
            known = as_fs_error(error)
            if known is None or known.errno != errno.ENOENT:
                raise
            return no_entry(min(self.tree.context.catalog.ttl, _NEGATIVE_S))

    @_by_inode
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT((await self.tree.node(inode).readlink()).encode())

    async def forget(self, inode_list: Any) -> None:
        """Nothing is kept per known inode."""

    # Attributes

    @_by_inode
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return await self._attributes(inode)

    async def _attributes(self, inode: InodeT) -> EntryAttributes:
        node = self.tree.node(inode)
        reply = self._reply(await node.attributes())
        if not node.is_linked:
            reply.st_nlink = 0
        return reply

    @_by_inode
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self.tree.node(inode)
        handle = None if fh is None else self._files[fh][1]
        with self._cut(node, attr.st_size) if fields.update_size else nullcontext():
            await self._set_attributes(node, attr, fields, handle)
            return await self._attributes(inode)

    async def _set_attributes(
        self, node: Node, attr: EntryAttributes, fields: SetattrFields, handle: Handle | None
    ) -> None:
        if fields.update_mode:
            await node.set_mode(attr.st_mode & _PERMISSIONS)
        if fields.update_size or fields.update_mtime or not fields.update_mode:
            await node.set_attributes(
                size=attr.st_size if fields.update_size else None,
                mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
                handle=handle,
            )

    @contextmanager
    def _cut(self, node: Node, size: int) -> Iterator[None]:
        """While the kernel does not know yet that a file was truncated to `size` bytes."""
        told = trio.Event()
        self._cuts[node.ino] = size, told
        try:
            yield
        finally:
            self._cuts.pop(node.ino, None)
            told.set()

    @_by_inode
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        shown = (await self.tree.node(inode).attributes()).mode
        return all(
            shown & owner_bit
            for asked, owner_bit in ((os.R_OK, 0o400), (os.W_OK, 0o200), (os.X_OK, 0o100))
            if mode & asked
        )

    # Extended attributes: anything but our own is refused first thing and without a look, so that
    # ls, cp and tar stop asking (EOPNOTSUPP; ENOSYS would end all of them, ours included).

    @_by_inode
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        if not name.startswith(_XATTR_PREFIX):
            raise FUSEError(errno.EOPNOTSUPP)
        return await self.tree.node(inode).xattr(_decode(name, errno.ENODATA))

    @_by_inode
    async def setxattr(
        self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext
    ) -> None:
        if not name.startswith(_XATTR_PREFIX):
            raise FUSEError(errno.EOPNOTSUPP)
        try:
            await self.tree.node(inode).set_xattr(_decode(name, errno.EINVAL), value)
        except FSError as error:
            if error.errno == errno.EPERM:  # copying attributes is not worth a report
                raise FUSEError(errno.EPERM) from None
            raise

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> list[XAttrNameT]:
        """Ours are read by name: what is listed is copied, and belongs to no copy."""
        return []

    @_by_inode
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        if not name.startswith(_XATTR_PREFIX):
            raise FUSEError(errno.EOPNOTSUPP)
        raise FUSEError(errno.EPERM)

    # Directories

    @_by_inode
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        node = self.tree.node(inode)
        listing = await node.listing()
        fh = next(self._numbers)
        self._directories[fh] = (inode, listing)
        self._unread.add(fh)
        self.tree.hold(node)
        return FileHandleT(fh)

    @_by_directory
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        if start_id == 0:
            await self._rewind(fh)
        _, listing = self._directories[fh]
        after = start_id
        while entries := await listing.read(after):
            for entry in entries:
                reply = self._reply(entry.attributes)
                name = FileNameT(entry.name.encode())
                if not pyfuse3.readdir_reply(token, name, reply, entry.cursor):
                    return
                after = entry.cursor

    async def _rewind(self, fh: FileHandleT) -> None:
        """A reader that begins again (rewinddir) sees what came since."""
        if fh in self._unread:
            self._unread.discard(fh)
            return
        ino, listing = self._directories[fh]
        node = self.tree.node(ino)
        if node.is_linked:
            self._directories[fh] = (ino, await node.listing())
            await listing.close()

    @_by_directory
    async def releasedir(self, fh: FileHandleT) -> None:
        ino, listing = self._directories.pop(fh)
        self._unread.discard(fh)
        self.tree.let_go(ino)
        await listing.close()

    @_by_directory
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._directories[fh][1].sync()

    @_by_name
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        node = await self.tree.node(parent_inode).mkdir(_decode(name, errno.EILSEQ))
        return self._reply(await node.attributes())

    @_by_name
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self.tree.node(parent_inode).rmdir(_decode(name, errno.ENOENT))

    # Files

    @_by_inode
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        node = self.tree.node(inode)
        if self._neighbours.includes(ctx.pid) and not await node.is_local():
            raise FSError(errno.EACCES, "indexers and thumbnailers may not fetch files")
        return self._opened(node, await node.open(flags), ctx.pid)

    @_by_name
    async def create(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> tuple[FileInfo, EntryAttributes]:
        parent = self.tree.node(parent_inode)
        permissions = mode & _PERMISSIONS
        node, handle = await parent.create(_decode(name, errno.EILSEQ), flags, permissions)
        try:
            attributes = self._reply(await node.attributes())
            return self._opened(node, handle, ctx.pid), attributes
        except BaseException:  # the kernel releases only what it knows of
            await handle.release()
            raise

    def _opened(self, node: Node, handle: Handle, pid: int) -> FileInfo:
        self.tree.hold(node, handle)
        fh = next(self._numbers)
        self._files[fh] = (node.ino, handle, pid)
        return FileInfo(
            fh=FileHandleT(fh), direct_io=handle.direct_io, keep_cache=handle.keep_cache
        )

    @_by_file
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        ino, handle, _ = self._files[fh]
        data = await handle.read(off, size)
        if len(data) < size and ino in self._cuts:
            # The kernel would take what is missing of the size it knows for zeros.
            end, told = self._cuts[ino]
            if not data or off + len(data) <= end:
                await told.wait()
        # Declared as bytes; pyfuse3 takes any buffer.
        return data  # type: ignore[return-value]

    @_by_file
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return await self._files[fh][1].write(off, buf)

    @_by_file
    async def flush(self, fh: FileHandleT) -> None:
        with self._waiting(fh) as handle:
            await handle.flush()

    @_by_file
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        with self._waiting(fh) as handle:
            await handle.sync()

    @contextmanager
    def _waiting(self, fh: FileHandleT) -> Iterator[Handle]:
        """While the process that opened a file waits until it is stored, or is killed."""
        _, handle, pid = self._files[fh]
        with self.callers.waiting(pid) if handle.release_stores else nullcontext():
            yield handle

    @_by_file
    async def release(self, fh: FileHandleT) -> None:
        ino, handle, _ = self._files.pop(fh)
        try:
            await handle.release()
        finally:
            self.tree.let_go(ino)

    @_by_name
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self.tree.node(parent_inode).unlink(_decode(name, errno.ENOENT))

    @_by_name
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise FUSEError(errno.EINVAL)
        await self.tree.node(parent_inode_old).rename(
            _decode(name_old, errno.ENOENT),
            self.tree.node(parent_inode_new),
            _decode(name_new, errno.EILSEQ),
            replace=not flags & pyfuse3.RENAME_NOREPLACE,
        )

    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """S3 has no links."""
        raise FUSEError(errno.EPERM)

    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """S3 has no links."""
        raise FUSEError(errno.EPERM)

    @_by_name
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """A file is created as any other; there are no devices, pipes or sockets."""
        if not stat.S_ISREG(mode):
            raise FUSEError(errno.EPERM)
        node, handle = await self.tree.node(parent_inode).create(
            _decode(name, errno.EILSEQ), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode & _PERMISSIONS
        )
        try:
            return self._reply(await node.attributes())
        finally:
            await handle.release()

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        return capacity()

    def _reply(self, attributes: Attributes) -> EntryAttributes:
        return entry_attributes(attributes)

    # Failures

    def _answer(
        self, operation: str, inode: Callable[[], int], child: bytes, error: Exception
    ) -> int:
        """The errno of a failure, also where describing it fails in turn."""
        try:
            return self._describe(operation, inode(), child, error)
        except BaseException as trouble:
            log.error(
                "%s failed, and so did describing why", operation, exc_info=as_failure(trouble)
            )
            return errno.EIO

    def _describe(self, operation: str, ino: int, child: bytes, error: Exception) -> int:
        """Log a failure and keep the message for last-error.txt; returns its errno.

        `child` is the name in the directory `ino` that the operation was about, if any.
        """
        known = as_fs_error(error)
        if known is None:
            log.error(
                "%s of %s failed unexpectedly", operation, self._path(ino, child), exc_info=error
            )
            known = FSError(errno.EIO, "internal error, see the log")
        self.errors[errno.errorcode.get(known.errno, str(known.errno))] += 1
        if known.errno in _REPORTED:
            log.warning("%s of %s: %s", operation, self._path(ino, child), known.message)
            self.tree.record_error(ino, known)
        return known.errno

    def _path(self, ino: int, child: bytes) -> str:
        path = self.tree.path(ino)
        return f"{path.rstrip('/')}/{os.fsdecode(child)}" if child else path


def _decode(name: bytes, unfit: int) -> str:
    """A name from the kernel; keys are UTF-8, so any other name is answered with `unfit`."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise FSError(unfit, "names must be UTF-8") from None
