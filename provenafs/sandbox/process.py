"""Starts and stops a sandbox in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from provenafs import private
from provenafs.sandbox.errors import SandboxError
from provenafs.sandbox.state import Running, StateFolder

_START_DEADLINE_S = 300
_STOP_DEADLINE_S = 30
_POLL_S = 0.05
_PROGRAM = (sys.executable, "-c", "from provenafs.cli import main; main()")
_NOT_INHERITED = ("PROVENAFS_", "AWS_", "RCLONE_", "AWSACCESS", "AWSSECRET", "AWSSESSION")


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without settings for us or for S3, and XDG directories in `home`.

    `provenafs` in it finds the sandbox of `owned_sandbox`.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    return kept | {
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PROVENAFS_SANDBOX_STATE": str(home / "sandbox"),
    }


@contextmanager
def owned_sandbox(
    home: Path, environ: Mapping[str, str], *, is_strict: bool = False
) -> Iterator[tuple[StateFolder, Running]]:
    """A sandbox in `home`/sandbox, which ends with the context, or with this process."""
    folder = StateFolder(home / "sandbox")
    prefix = ("setpriv", "--pdeathsig", "TERM")
    process = launch(folder, is_strict=is_strict, environ=environ, prefix=prefix)
    try:
        yield folder, wait_until_ready(process, folder)
    finally:
        end(process, within=_STOP_DEADLINE_S)


def end(process: subprocess.Popen[bytes], *, within: float) -> None:
    """Tell a process to end, and end it by force after so many seconds."""
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def launch(
    folder: StateFolder,
    *,
    is_strict: bool,
    environ: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a process over a folder, which may not be ready for long; SandboxError."""
    folder.prepare()
    options = ["--state", str(folder.path), *(["--strict"] if is_strict else [])]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(private.open_file(folder.log, flags), "wb") as log:
        return subprocess.Popen(
            [*prefix, *_PROGRAM, "sandbox", "start", *options],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen[bytes], folder: StateFolder) -> Running:
    """Wait until all services of a process answer; SandboxError if it ends, or takes too long."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        running = folder.running()
        if running is not None and not running.silent():
            return running
        time.sleep(_POLL_S)
    if process.poll() is None:
        process.terminate()
        raise SandboxError(
            f"The sandbox did not start within {_START_DEADLINE_S} seconds; see {folder.log}."
        )
    last_words = folder.log.read_text(errors="replace").strip().rpartition("\n")[2]
    raise SandboxError(last_words.removeprefix("provenafs: ") or f"It ended; see {folder.log}.")
