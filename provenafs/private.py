"""Creates and checks private folders and files of the user.

A folder that another user can write to may contain links to files of ours, or files of theirs that
pass for ours. So owner and mode are looked at before anything is used, no link is followed within
a folder, and what is wider than it should be is narrowed where it is ours, else refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path

_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_SIDE_FILES = ("-wal", "-shm", "-journal")  # of an SQLite database


class Untrusted(OSError):
    """A folder or file that another user made or can change; `strerror` contains the remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(path))


def top_folder(path: Path) -> Path:
    """A folder that the user has named: made if it is missing, checked in any case.

    It may be reached through links. Raises Untrusted, OSError.
    """
    _make(path)
    _check_folder(path, os.O_DIRECTORY)
    return path


def folder(path: Path) -> Path:
    """A folder below one that was checked: made if it is missing. Raises Untrusted, OSError."""
    if path.is_symlink():
        raise Untrusted(path, "this is a symbolic link, which provenafs does not make: delete it")
    _make(path)
    _check_folder(path, os.O_DIRECTORY | os.O_NOFOLLOW)
    return path


def _make(path: Path) -> None:
    """Each folder that is missing is the owner's only, whatever the umask."""
    if path.exists():
        return
    if path.parent != path:
        _make(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(0o700)


def _check_folder(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            advice = "name a folder of your own, or let its owner give it to you (chown)"
            raise Untrusted(path, f"this folder belongs to {_user(status.st_uid)}: {advice}")
        if not status.st_mode & _OTHERS_WRITE:
            return
        if status.st_mode & stat.S_ISVTX:
            raise Untrusted(path, "this folder is for everybody: name one of your own in it")
        os.fchmod(descriptor, 0o700)
        if os.fstat(descriptor).st_mode & _OTHERS_WRITE:
            raise Untrusted(path, "others can write to this folder: name one of your own")
    finally:
        os.close(descriptor)


def open_file(path: Path, flags: int) -> int:
    """Open a file of ours, made with mode 0600; no link is followed. Raises Untrusted, OSError."""
    try:
        safe = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, safe, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        message = "this is a symbolic link, which provenafs does not make: delete it"
        raise Untrusted(path, message) from None
    try:
        _check_file(path, descriptor)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_locked(path: Path) -> int:
    """Open a file of ours, made if it is missing, and lock it until it is closed.

    Raises BlockingIOError if another process holds it, Untrusted, OSError.
    """
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file; raises Untrusted, OSError."""
    try:
        descriptor = open_file(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared: of two who look at once, neither is to take the other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _check_file(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Untrusted(path, "this is no file, which provenafs does not make: delete it")
    if status.st_uid != os.geteuid():
        advice = "take it over (chown) if you made it, else move it away"
        raise Untrusted(path, f"this file belongs to {_user(status.st_uid)}: {advice}")
    if status.st_nlink > 1:
        raise Untrusted(path, "this file has another name elsewhere: put a copy in its place")
    if status.st_mode & _OTHERS:
        os.fchmod(descriptor, 0o600)


def prepare_database(path: Path) -> None:
    """Make sure that SQLite opens, or makes, files of ours only. Raises Untrusted, OSError."""
    os.close(open_file(path, os.O_RDWR | os.O_CREAT))
    for suffix in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            os.close(open_file(path.with_name(path.name + suffix), os.O_RDWR))


def read_secret(path: Path) -> str:
    """The text of a file that nobody else may read. Raises Untrusted, OSError, UnicodeDecodeError.

    It may be reached through links; what others can read may be known to them, and is not used.
    systemd's credentials (systemd.exec(5), LoadCredential=) are root's, for us alone.
    """
    with path.open(encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if status.st_uid == 0 and str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY"):
            return file.read()
        if status.st_uid != os.geteuid():
            reason = f"it belongs to {_user(status.st_uid)}: use a file of your own"
            raise Untrusted(path, reason)
        if status.st_mode & _OTHERS:
            raise Untrusted(path, f"others can read it: chmod 600 {path}, and use a new token")
        return file.read()


def replace(path: Path, text: str) -> None:
    """Replace a file as a whole or not at all; raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _user(uid: int) -> str:
    return "root" if uid == 0 else f"another user ({uid})"
