"""What is compared: provenafs, its peers and the local disk; starts, stops and cools each."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from bench.servers import BenchError, Site
from provenafs.sandbox.gateway import BUCKET, REGION

RCLONE_CACHING = "rclone (full cache)"
BARE_LOOP = "bare pyfuse3 loop"
_MOUNT_WITHIN_S = 60
_END_WITHIN_S = 60
_POLL_S = 0.005
_READ_AHEAD_KIB = 1024  # of our own mounts
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def drop_kernel_caches() -> None:
    """Forget all clean pages, inodes and directory entries of this machine."""
    os.sync()
    try:
        _DROP_CACHES.write_text("3\n")
    except PermissionError:
        raise BenchError("The kernel's caches cannot be dropped: run this as root.") from None


class Peer:
    """The local disk: files in a folder that is always there."""

    name = "local"
    is_mount = False

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def data(self) -> Path:
        """Where the dataset's files are."""
        return self.site.home / "local"

    def is_installed(self) -> bool:
        """Whether it can be measured on this machine."""
        return True

    def version(self) -> str:
        """What it says of itself, in one line."""
        return "the filesystem of the temporary folder"

    def flags(self, writes: bool) -> list[str]:
        """The settings it runs with."""
        return []

    def start(self, endpoint: str, writes: bool) -> float:
        """Make it ready with S3 at `endpoint`; returns after how many seconds it answered."""
        return 0.0

    def stop(self) -> None:
        """End it, with its caches left as they are."""

    def kill(self) -> None:
        """End it at once, so that whoever waits for it gets an error."""

    def clear(self) -> None:
        """Empty its caches; it must not run."""

    def sync(self) -> None:
        """Wait until it has stored what it was given, where it offers that."""

    def peak_memory(self) -> int | None:
        """The most bytes of memory (RSS) its process has had since its start."""
        return None


class MountPeer(Peer):
    """A process of its own that serves a mount."""

    is_mount = True
    version_argument = "--version"

    def __init__(self, site: Site, name: str, binary: str) -> None:
        super().__init__(site)
        self.name = name
        self.binary = binary
        self.home = site.home / "peers" / "".join(c if c.isalnum() else "-" for c in name)
        self.mountpoint = self.home / "mount"
        self.cache = self.home / "cache"
        self.log = self.home / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.mountpoint

    def is_installed(self) -> bool:
        return shutil.which(self.binary) is not None

    def version(self) -> str:
        done = subprocess.run(
            [self.binary, self.version_argument], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()[0]

    def command(self, endpoint: str, writes: bool) -> list[str]:
        """What is run, in the foreground."""
        raise NotImplementedError

    def environ(self, endpoint: str, writes: bool) -> Mapping[str, str]:
        """The environment it is run in, which holds its keys."""
        raise NotImplementedError

    def start(self, endpoint: str, writes: bool) -> float:
        self.mountpoint.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(exist_ok=True)
        command = ["setpriv", "--pdeathsig", "TERM", *self.command(endpoint, writes)]
        environ = self.environ(endpoint, writes)
        started = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_mounted(self._process)
        return time.perf_counter() - started

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None and _is_mounted(self.mountpoint):
            subprocess.run(["fusermount3", "-u", self.mountpoint], check=False)
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._detach()
        self._process = None

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._detach()

    def clear(self) -> None:
        shutil.rmtree(self.cache, ignore_errors=True)

    def peak_memory(self) -> int | None:
        if self._process is None:
            return None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return None
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024

    def _wait_until_mounted(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _MOUNT_WITHIN_S
        while time.monotonic() < deadline and process.poll() is None:
            if _is_mounted(self.mountpoint):
                next(self.mountpoint.iterdir(), None)
                return
            time.sleep(_POLL_S)
        self.kill()
        tail = self.log.read_text(errors="replace")[-2000:]
        raise BenchError(f"{self.name} did not mount:\n{tail}")

    def _detach(self) -> None:
        if _is_mounted(self.mountpoint):
            subprocess.run(["fusermount3", "-u", "-z", self.mountpoint], check=False)


class Provenafs(MountPeer):
    """The mount of this repository."""

    def __init__(self, site: Site, name: str = "provenafs", *extra: str) -> None:
        super().__init__(site, name, str(Path(sys.executable).parent / "provenafs"))
        self.extra = extra

    @property
    def data(self) -> Path:
        return self.mountpoint / self.site.handle.replace("/", "-") / "data"

    def flags(self, writes: bool) -> list[str]:
        return list(self.extra)

    def command(self, endpoint: str, writes: bool) -> list[str]:
        return [
            *(self.binary, "mount", "--foreground", "--s3-endpoint", endpoint),
            *("--cache-dir", str(self.cache), "--state-dir", str(self.home / "state")),
            *self.flags(writes),
            str(self.mountpoint),
        ]

    def environ(self, endpoint: str, writes: bool) -> Mapping[str, str]:
        return self.site.user_environ()

    def clear(self) -> None:
        super().clear()
        shutil.rmtree(self.home / "state", ignore_errors=True)

    def sync(self) -> None:
        descriptor = os.open(self.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Rclone(MountPeer):
    """rclone mount, as its pages on mount and on S3 recommend for speed."""

    version_argument = "version"

    def __init__(
        self, site: Site, name: str, binary: str, *, streams: bool = True, caches: bool = False
    ) -> None:
        super().__init__(site, name, binary)
        self.streams = streams
        """Whether this version can read the chunks of a file in parallel."""
        self.caches = caches
        """Whether what is read is kept on the local disk."""

    def flags(self, writes: bool) -> list[str]:
        common = ["--use-server-modtime", "--vfs-fast-fingerprint", "--transfers", "16"]
        if writes:
            return [*common, "--vfs-cache-mode", "full", "--vfs-write-back", "0s"]
        if self.caches:
            common += ["--vfs-cache-mode", "full"]
        if not self.streams:
            return [*common, "--buffer-size", "64M"]
        return [*common, "--vfs-read-chunk-streams", "16", "--vfs-read-chunk-size", "4M"]

    def command(self, endpoint: str, writes: bool) -> list[str]:
        return [
            *(self.binary, "mount", f"bench:{BUCKET}/{self.site.prefix}", str(self.mountpoint)),
            *("--cache-dir", str(self.cache), "--s3-no-check-bucket"),
            *self.flags(writes),
        ]

    def environ(self, endpoint: str, writes: bool) -> Mapping[str, str]:
        return self.site.environ | {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_BENCH_TYPE": "s3",
            "RCLONE_CONFIG_BENCH_PROVIDER": "Minio",
            "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
            "RCLONE_CONFIG_BENCH_ENDPOINT": endpoint,
            "RCLONE_CONFIG_BENCH_REGION": REGION,
            **self.site.keys("write" if writes else "read").exports(),
        }


class S3fs(MountPeer):
    """s3fs, with the parallelism and caches that its manual names for speed."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, "s3fs", "s3fs")

    def flags(self, writes: bool) -> list[str]:
        return [
            "kernel_cache",
            "parallel_count=16",
            "multireq_max=50",
            "max_stat_cache_size=200000",
            "enable_noobj_cache",
        ]

    def command(self, endpoint: str, writes: bool) -> list[str]:
        options = [
            f"url={endpoint}",
            f"endpoint={REGION}",
            "use_path_request_style",
            "use_session_token",
            f"use_cache={self.cache}",
            *self.flags(writes),
        ]
        prefix = self.site.prefix.rstrip("/")
        arguments = [part for option in options for part in ("-o", option)]
        return [self.binary, f"{BUCKET}:/{prefix}", str(self.mountpoint), "-f", *arguments]

    def environ(self, endpoint: str, writes: bool) -> Mapping[str, str]:
        return self.site.environ | self.site.keys("write" if writes else "read").exports()


class BareLoop(MountPeer):
    """The limit of what a filesystem on pyfuse3 can reach, with the rows' files in memory."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, BARE_LOOP, sys.executable)

    def version(self) -> str:
        return f"pyfuse3 {metadata.version('pyfuse3')}"

    def command(self, endpoint: str, writes: bool) -> list[str]:
        folders = [str(self.site.home / "local" / name) for name in ("warm", "large")]
        return [self.binary, "-m", "bench.bare_loop", str(self.mountpoint), *folders]

    def start(self, endpoint: str, writes: bool) -> float:
        """With the read-ahead of the kernel that provenafs sets: a fault reads that much."""
        seconds = super().start(endpoint, writes)
        device = self.mountpoint.stat().st_dev
        setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        setting.write_text(str(_READ_AHEAD_KIB))
        return seconds

    def environ(self, endpoint: str, writes: bool) -> Mapping[str, str]:
        return self.site.environ


def all_peers(site: Site) -> dict[str, Peer]:
    """Everything that files can be read from or written to, by name, as far as installed."""
    rclone = str(Path(sys.executable).parent / "rclone")
    peers = [
        Provenafs(site),
        Provenafs(site, "provenafs --writeback", "--writeback"),
        Rclone(site, "rclone", rclone),
        Rclone(site, RCLONE_CACHING, rclone, caches=True),
        Rclone(site, "rclone (Debian)", "/usr/bin/rclone", streams=False),
        S3fs(site),
        BareLoop(site),
        Peer(site),
    ]
    return {peer.name: peer for peer in peers if peer.is_installed()}


def _is_mounted(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(
            line.split(" ")[4] == str(path)
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
        )
    return False
