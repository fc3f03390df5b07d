"""Logging of a mount: to the terminal, or to a file that all mounts of a profile share."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from provenafs import private
from provenafs.config import Settings
from provenafs.printable import LineFormatter

_LONGEST = 5 * 1024 * 1024  # bytes
_BACKUPS = 3
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SHARED_FORMAT = "%(asctime)s %(levelname)s [%(process)d {mountpoint}] %(name)s: %(message)s"


def log_to_terminal() -> None:
    """Log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(_FORMAT))
    _begin(handler)


def log_to_file(settings: Settings, mountpoint: Path) -> None:
    """Log to the file of the profile, each line with the process and the mount it is of."""
    private.top_folder(settings.state_dir)
    private.folder(settings.state_dir / "log")
    handler = _SharedFile(log_file(settings), maxBytes=_LONGEST, backupCount=_BACKUPS)
    escaped = str(mountpoint).replace("%", "%%")
    handler.setFormatter(LineFormatter(_SHARED_FORMAT.replace("{mountpoint}", escaped)))
    _begin(handler)


def log_file(settings: Settings) -> Path:
    """The log of the mounts of a profile."""
    return settings.state_dir / "log" / f"{settings.profile}.log"


def reopen_logs() -> None:
    """Go on in files of the same names, which another program has moved away."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _SharedFile):
            handler.follow()


def _begin(handler: logging.Handler) -> None:
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # Libraries log every request; this package logs failures.
    for name in ("httpx", "httpcore", "botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _SharedFile(logging.handlers.RotatingFileHandler):
    """A log that is the owner's only, and that several processes write to and rotate."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        file = os.fdopen(private.open_file(Path(self.baseFilename), flags), "ab")
        return TextIOWrapper(file, "utf-8", "backslashreplace")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Whether the file, which another process may have rotated, is long enough."""
        self.follow()
        return bool(super().shouldRollover(record))

    def follow(self) -> None:
        """Reopen the file if its name refers to another one."""
        self.acquire()
        try:
            if self.stream is not None and not self._is_current():
                self.stream.close()
                self.stream = self._open()
        finally:
            self.release()

    def _is_current(self) -> bool:
        try:
            named = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return self.stream is not None and os.path.samestat(named, os.fstat(self.stream.fileno()))

    def doRollover(self) -> None:  # noqa: N802
        """Rotate, unless another process does so now or has just done so."""
        try:
            lock = private.open_locked(Path(f"{self.baseFilename}.lock"))
        except BlockingIOError:
            return  # it may be stopped: this record makes the old file longer instead
        try:
            if self._is_current():
                super().doRollover()
        finally:
            os.close(lock)
        self.follow()
