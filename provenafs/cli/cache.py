"""cache: prefetch, pin, unpin and evict files, and show what is local."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from provenafs.cli.app import plain_app
from provenafs.cli.output import say
from provenafs.cli.progress import progress_of_bytes
from provenafs.fuse.mountpoint import MountError, containing

app = plain_app(help="Prefetch, pin and evict cached files.", no_args_is_help=True)

_CACHED = "user.provena.cached"
_PINNED = "user.provena.pinned"
_AT_ONCE = 16
_PIECE = 1024 * 1024
_ATTEMPTS = 3  # blocks that a busy disk could not take are read again

_Paths = Annotated[list[Path], typer.Argument(help="Files or directories in a mount.")]


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a dataset; sizes in bytes."""

    path: Path
    size: int
    cached: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class _Total:
    """What `stat` reports for a path; sizes in bytes, the others are counts of files."""

    path: str
    files: int
    size: int
    cached: int
    pinned: int


@app.command()
def warm(paths: _Paths) -> None:
    """Fetch files into the block cache, so that they are read at local speed."""
    _for_each(_found(paths), _fetch, "fetching", "fetched")


@app.command()
def pin(paths: _Paths) -> None:
    """Fetch files and keep them: they are not evicted, and can be read offline."""

    def work(file: _File, advance: Callable[[int], None]) -> None:
        os.setxattr(file.path, _PINNED, b"1")
        _fetch(file, advance)

    _for_each(_found(paths), work, "fetching", "fetched and pinned")


@app.command()
def unpin(paths: _Paths) -> None:
    """Unpin files."""
    _for_each(_found(paths), _set(_PINNED), "unpinning", "unpinned")


@app.command()
def evict(paths: _Paths) -> None:
    """Remove files from the block cache, pinned ones too; the data store keeps them."""
    _for_each(_found(paths), _set(_CACHED), "evicting", "evicted")


@app.command(name="stat")
def stat_(
    paths: _Paths, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show how much of each path is on this machine."""
    totals = [_total(path) for path in paths]
    if as_json:
        print(json.dumps([asdict(total) for total in totals], indent=2))
        return
    for total in totals:
        say(
            f"{total.path}: {decimal(total.cached)} of {decimal(total.size)} cached"
            f" ({total.files} files, {total.pinned} pinned)"
        )


def _total(path: Path) -> _Total:
    files = _found([path])
    return _Total(
        str(path),
        len(files),
        sum(file.size for file in files),
        sum(file.cached for file in files),
        sum(file.pinned for file in files),
    )


def _found(paths: Sequence[Path]) -> list[_File]:
    """The files of datasets at and below the paths. Raises MountError, OSError."""
    files = []
    for path in paths:
        if containing(path.absolute()) is None:
            raise MountError(f"{path} is not in a provenafs mount: see 'provenafs status'.")
        for found in _walk(path):
            file = _file(found)
            if file is not None:
                files.append(file)
    return files


def _walk(path: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    if not stat.S_ISDIR(path.stat().st_mode):
        yield path
        return
    for folder, _, names in os.walk(path, onerror=fail):
        yield from (Path(folder) / name for name in names)


def _file(path: Path) -> _File | None:
    """None for files that the mount generates; documents are read, so that they are cached."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return None
    cached = _attribute(path, _CACHED)
    if cached is None:
        path.read_bytes()
        return None
    is_pinned = _attribute(path, _PINNED) is not None
    return _File(path, status.st_size, int(cached), is_pinned)


def _attribute(path: Path, name: str) -> bytes | None:
    """An extended attribute, which is never listed; None if the file has none of that name."""
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return None


def _set(attribute: str) -> Callable[[_File, Callable[[int], None]], None]:
    """Set an attribute to 0."""

    def work(file: _File, advance: Callable[[int], None]) -> None:
        os.setxattr(file.path, attribute, b"0")
        advance(file.size)

    return work


def _fetch(file: _File, advance: Callable[[int], None]) -> None:
    """Read a file until all of it is cached. Raises MountError, OSError."""
    missing, told = file.size - file.cached, 0
    for _ in range(_ATTEMPTS):
        if not missing:
            break
        descriptor = os.open(file.path, os.O_RDONLY)
        try:
            # Pages in the kernel's cache would not reach ours.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while piece := os.read(descriptor, _PIECE):
                step = min(len(piece), file.size - told)
                told += step
                advance(step)
        finally:
            os.close(descriptor)
        missing = file.size - int(os.getxattr(file.path, _CACHED))
    advance(file.size - told)
    if missing:
        raise MountError(
            f"{file.path} is not completely cached: check --cache-size and free disk space"
        )


def _for_each(
    files: Sequence[_File],
    work: Callable[[_File, Callable[[int], None]], None],
    doing: str,
    done: str,
) -> None:
    """Do the work for all files, some at once, with progress; raises the first failure."""
    total = sum(file.size for file in files)
    with progress_of_bytes() as progress, ThreadPoolExecutor(_AT_ONCE) as pool:
        line = progress.add_task(f"{doing} {len(files)} files", total=total)

        def advance(size: int) -> None:
            progress.advance(line, size)

        jobs = [pool.submit(work, file, advance) for file in files]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    say(f"{len(files)} files of {decimal(total)} {done}.")
