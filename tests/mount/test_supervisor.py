"""What a service manager learns of a mount, by a notification socket of the test."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from provenafs.fuse.supervisor import keep_alive, notify
from tests.support.mounting import is_mounted
from tests.support.running_sandbox import RunningSandbox

_WATCHDOG_S = 0.5


class Manager:
    """The socket of a service manager, and the mount that it has started."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)
        self.environ = {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(int(_WATCHDOG_S * 1e6)),
        }

    def message(self) -> dict[str, str]:
        """The next message, but for pings."""
        while True:
            message = self._next()
            if message != {"WATCHDOG": "1"}:
                return message

    def wait_for_ping(self) -> None:
        while self._next() != {"WATCHDOG": "1"}:
            pass

    def forget(self) -> None:
        """Drop what has been sent so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            self._socket.settimeout(30)

    def is_silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(30)
        return False

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mount"
    path.mkdir()
    return path


@pytest.fixture
def process(
    sandbox: RunningSandbox, manager: Manager, path: Path, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A mount as a unit of Type=notify starts it."""
    with subprocess.Popen(
        [Path(sys.executable).with_name("provenafs"), "mount", "--foreground",
         "--cache-dir", tmp_path / "cache", "--state-dir", tmp_path / "state", path],
        env=sandbox.env("alice") | manager.environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield process
        process.kill()
        process.wait()
        if is_mounted(path):
            subprocess.run(["fusermount3", "-u", "-z", "--", str(path)], check=False)


def test_a_mount_is_ready_reloads_and_stops(
    manager: Manager, process: subprocess.Popen[bytes], path: Path
) -> None:
    ready = manager.message()
    assert ready["READY"] == "1"
    assert ready["STATUS"] == f"mounted at {path} as alice"
    assert os.listdir(path)
    manager.wait_for_ping()
    before = time.monotonic_ns() // 1000
    process.send_signal(signal.SIGHUP)
    reloading = manager.message()
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.message() == {"READY": "1"}
    process.send_signal(signal.SIGTERM)
    assert manager.message()["STOPPING"] == "1"
    assert process.wait(30) == 0
    assert not is_mounted(path)


def test_a_stopped_process_does_not_ping(
    manager: Manager, process: subprocess.Popen[bytes]
) -> None:
    assert manager.message()["READY"] == "1"
    manager.wait_for_ping()
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    manager.forget()
    assert manager.is_silent(3 * _WATCHDOG_S)
    process.send_signal(signal.SIGCONT)
    manager.wait_for_ping()


async def test_there_are_no_pings_while_the_mount_hangs_or_fails(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in manager.environ.items():
        monkeypatch.setenv(name, value)
    answers, fails = threading.Event(), threading.Event()
    answers.set()

    def ask() -> None:
        answers.wait(30)
        if fails.is_set():
            raise OSError(errno.ENOTCONN, "not connected")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, ask)
        await trio.to_thread.run_sync(manager.wait_for_ping)
        for obstacle in (answers.clear, fails.set):
            obstacle()
            await trio.sleep(_WATCHDOG_S)  # for a ping under way
            manager.forget()
            assert await trio.to_thread.run_sync(manager.is_silent, 2 * _WATCHDOG_S)
            answers.set()
            fails.clear()
            await trio.to_thread.run_sync(manager.wait_for_ping)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"},
     {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)  # fmt: skip
async def test_nobody_waits_for_pings(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with trio.fail_after(30):
        await keep_alive(pytest.fail)


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@provenafs-test-nobody"])
def test_a_manager_that_is_gone_does_not_matter(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
