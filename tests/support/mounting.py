"""Mounts in processes of their own, unmounted whatever the test does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.log_watch import LOG_WATCH
from tests.support.running_sandbox import RunningSandbox, run_cli


@dataclass(frozen=True, slots=True)
class Drive:
    """A mount of one user."""

    path: Path
    home: Path
    environ: dict[str, str]

    def dataset(self, handle: str) -> Path:
        """The directory of a dataset."""
        return self.path / handle.replace("/", "-")

    def data(self, handle: str) -> Path:
        """The files of a dataset."""
        return self.dataset(handle) / "data"

    def status(self) -> dict[str, Any]:
        """The mount about itself."""
        document: dict[str, Any] = json.loads((self.path / ".provenafs/status.json").read_bytes())
        return document

    @property
    def pid(self) -> int:
        """The process that serves the mount."""
        return int(self.status()["pid"])

    @property
    def log(self) -> str:
        """What the mount has logged so far."""
        return "\n".join(path.read_text() for path in (self.home / "state/log").glob("*.log"))


@contextmanager
def mounted(
    sandbox: RunningSandbox,
    user: str,
    home: Path,
    *flags: str,
    services: tuple[str, str] = ("", ""),
) -> Iterator[Drive]:
    """A mount in the background as `user`, with its cache and state in `home`.

    `services` is what begins the addresses of the services, and what is to be in its place.
    """
    path = home / "mount"
    path.mkdir(parents=True, exist_ok=True)
    environ = {
        name: value.replace(*services) if name.startswith("PROVENAFS_") else value
        for name, value in sandbox.env(user).items()
    }
    arguments = ("--cache-dir", str(home / "cache"), "--state-dir", str(home / "state"), *flags)
    done = run_cli(environ, "mount", *arguments, str(path))
    assert done.returncode == 0, done.stderr
    drive = Drive(path, home, environ)
    pid = drive.pid
    with LOG_WATCH.mount(home / "state/log"):
        try:
            yield drive
        finally:
            _end(path, pid)


def _end(path: Path, pid: int) -> None:
    if is_mounted(path):
        subprocess.run(["fusermount3", "-u", "-z", "--", str(path)], check=False)
    wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    """Wait for the process of a mount that was unmounted; it fails if it goes on."""
    deadline = time.monotonic() + 15
    while not has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not has_ended(pid):
        os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"the process {pid} did not end")


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Fails unless a condition comes about in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def is_mounted(path: Path) -> bool:
    """Whether anything is mounted at `path`."""
    return any(
        line.split(" ")[4] == str(path)
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )


MountAs = Callable[..., Drive]
"""Mounts of a test's own: `mount_as(user, *flags)`."""
