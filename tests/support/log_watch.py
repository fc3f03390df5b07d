"""Fails a test that leaves an unexpected error in a log: its own, or that of a mount.

`@pytest.mark.expects_errors(*patterns)` names errors that may come, as regular expressions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

# As provenafs.cli.logs writes it: `2026-01-31 12:00:00,000 ERROR [1234 /mnt] provenafs.x: text`.
_ERROR_LINE = re.compile(r"^\S+ \S+ ((?:ERROR|CRITICAL) .*)", re.MULTILINE)
# The kernel has taken a request back: its process was killed, or the mount was detached.
_TAKEN_BACK = r"pyfuse3: fuse_\w+\(\): fuse_reply_\* failed with No such file or directory"
# The S3 server in this process: a request that a test cuts off is an error there.
_SERVERS = ("werkzeug", "moto")


class _LogFolder:
    """The logs of a mount, each read from where the last look ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}  # bytes
        self.new_errors()  # those of mounts before are not of this one

    def new_errors(self) -> list[str]:
        """The errors since the last look."""
        found: list[str] = []
        for path in self._folder.glob("*.log"):
            offset = self._offsets.get(path, 0)
            data = path.read_bytes()[offset:]
            whole_lines = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(whole_lines)
            found += _ERROR_LINE.findall(whole_lines.decode(errors="replace"))
        return found


class LogWatch(logging.Handler):
    """The errors that this process and the mounts it started have logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._errors: list[str] = []
        self._mounts: list[_LogFolder] = []
        self._expected: tuple[str, ...] = ()
        self._in_test = False

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(_SERVERS):
            self._errors.append(f"{record.levelname} {record.name}: {record.getMessage()}")

    @contextmanager
    def mount(self, folder: Path) -> Iterator[None]:
        """Watch the logs in `folder` while a mount lives, to its last line.

        A mount that several tests share ends after the last of them: what that one expects is
        expected then, too.
        """
        logs = _LogFolder(folder)
        self._mounts.append(logs)
        try:
            yield
        finally:
            self._mounts.remove(logs)
            self._errors += logs.new_errors()
            if not self._in_test:
                self._check()

    @contextmanager
    def test(self, expected: Sequence[str]) -> Iterator[None]:
        """Watch during a test; AssertionError if there was an error that matches no pattern."""
        self._expected = tuple(expected)
        self._in_test = True
        logging.getLogger().addHandler(self)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self)
            self._in_test = False
            for logs in self._mounts:
                self._errors += logs.new_errors()
            self._check()

    def _check(self) -> None:
        errors, self._errors = self._errors, []
        unexpected = [
            error
            for error in errors
            if not any(re.search(pattern, error) for pattern in (*self._expected, _TAKEN_BACK))
        ]
        assert not unexpected, "unexpected in the log:\n" + "\n".join(unexpected)


LOG_WATCH = LogWatch()


@pytest.fixture(autouse=True)
def no_unexpected_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test for an error in a log that none of its `expects_errors` names."""
    markers = request.node.iter_markers("expects_errors")
    with LOG_WATCH.test([pattern for marker in markers for pattern in marker.args]):
        yield
