"""The state folder of a sandbox, and the process that may be using it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import urllib3

from provenafs import private
from provenafs.sandbox.errors import SandboxError

_STOP_DEADLINE_S = 20
_POLL_S = 0.05
_LOCK_ATTEMPTS = 10
_HEALTH_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Running:
    """Where a running sandbox answers."""

    pid: int
    datastore: str
    registry: str
    search: str
    auth_api: str
    job_api: str
    realm: str
    s3_endpoint: str

    def silent(self) -> list[str]:
        """The names of those services that do not answer."""
        health = {
            "data store": f"{self.datastore}/",
            "registry": f"{self.registry}/",
            "search": f"{self.search}/",
            "authorisation": self.realm,
            "S3": f"{self.s3_endpoint}/minio/health/live",
        }
        with urllib3.PoolManager(timeout=_HEALTH_TIMEOUT_S, retries=False) as pool:
            return [name for name, url in health.items() if not _answers(pool, url)]


class StateFolder:
    """Everything of one sandbox that outlives its process; one process at a time may run over it.

    `settings.json` has ports and keys, `services.db` the records, `s3/` the objects.
    `manifest.json` lists the sample files and is written last: without it the others are
    unfinished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.database = self.path / "services.db"
        self.objects = self.path / "s3"
        self.manifest = self.path / "manifest.json"
        self.log = self.path / "sandbox.log"
        self.settings = self.path / "settings.json"
        self._running = self.path / "running.json"
        self._lock = self.path / "lock"

    def prepare(self) -> None:
        """Make the folder, for its owner only; SandboxError if that cannot be."""
        try:
            private.top_folder(self.path)
            os.close(private.open_file(self._lock, os.O_RDWR | os.O_CREAT))
        except OSError as error:
            reason = error.strerror
            raise SandboxError(f"The state folder {self.path} cannot be used: {reason}.") from error

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this process; SandboxError if another one does."""
        self.prepare()
        with os.fdopen(self._take_lock(), "w") as file:
            file.truncate()  # what a killed one has left
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                self._running.unlink(missing_ok=True)
                file.truncate(0)

    def _take_lock(self) -> int:
        # Not given up at the first refusal: who only looks at it holds it for a moment.
        for _ in range(_LOCK_ATTEMPTS):
            with suppress(BlockingIOError):
                return private.open_locked(self._lock)
            time.sleep(_POLL_S)
        raise SandboxError(f"The sandbox in {self.path} is already running.")

    def holder(self) -> int | None:
        """The id of the process that runs over the folder, be it ready or not; None without one."""
        if not private.is_locked(self._lock):
            return None
        return int(self._lock.read_text() or 0) or None

    def running(self) -> Running | None:
        """Where the sandbox answers; None unless it is up and ready."""
        if self.holder() is None:
            return None
        try:
            document = json.loads(self._running.read_text())
        except FileNotFoundError:
            return None
        return Running(**document)

    def stop(self) -> bool:
        """End the sandbox's process and wait for its end; whether there was one."""
        pid = self.holder()
        if pid is None:
            return False
        for signum in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, signum)
            deadline = time.monotonic() + _STOP_DEADLINE_S
            while time.monotonic() < deadline:
                if self.holder() != pid:
                    return True
                time.sleep(_POLL_S)
        raise SandboxError(f"The sandbox's process {pid} does not end.")

    def announce(self, running: Running) -> None:
        """Let others find what is running."""
        write_document(self._running, asdict(running))

    def keys(self) -> dict[str, str]:
        """The permanent keys of the S3 server, by the names of GatewayKeys' fields."""
        keys: dict[str, str] = json.loads(self.settings.read_text())["keys"]
        return keys

    def files(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The manifest: by handle and path in the dataset, the `size` in bytes and the `sha256`."""
        manifest: dict[str, dict[str, dict[str, Any]]] = json.loads(self.manifest.read_text())
        return manifest

    def drop_unfinished(self) -> bool:
        """Remove the leftovers of an interrupted first start; returns whether to seed."""
        if self.manifest.exists():
            return False
        shutil.rmtree(self.objects, ignore_errors=True)
        for path in self.path.glob(f"{self.database.name}*"):
            path.unlink()
        return True


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Replace a JSON file that only its owner may read, as a whole or not at all."""
    private.replace(path, json.dumps(document, indent=2))


def _answers(pool: urllib3.PoolManager, url: str) -> bool:
    try:
        return pool.request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False
