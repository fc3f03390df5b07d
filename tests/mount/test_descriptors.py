"""A mount that may not have many descriptors: new files wait, all else goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import mounting
from tests.support.mounting import MountAs
from tests.support.running_sandbox import RunningSandbox

PENGUINS = "10378.1/1451870"
LIMIT = 400


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mounts may have LIMIT descriptors, and begin with half of them."""
    provenafs = Path(sys.executable).parent / "provenafs"

    def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        limits = ["prlimit", f"--nofile={LIMIT // 2}:{LIMIT}"]
        command: list[Any] = [*limits, provenafs, *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    monkeypatch.setattr(mounting, "run_cli", run)


@pytest.mark.usefixtures("limited")
def test_new_files_are_refused_and_others_go_on(
    sandbox: RunningSandbox, mount_as: MountAs, handle: str
) -> None:
    drive = mount_as("alice")
    limits = Path(f"/proc/{drive.pid}/limits").read_text()
    assert f"Max open files            {LIMIT}                  {LIMIT}" in limits
    data = drive.data(handle)
    opened: list[int] = []
    try:
        with pytest.raises(OSError) as caught:
            for number in range(LIMIT):
                opened.append(os.open(data / f"{number}", os.O_CREAT | os.O_WRONLY, 0o600))
                os.write(opened[-1], b"begun")
        assert caught.value.errno == errno.ENFILE
        assert len(opened) == (LIMIT - 256) // 2
        assert "ulimit -Hn" in (drive.dataset(handle) / ".provena/last-error.txt").read_text()
        # Those that are open go on, and other datasets, and what is read.
        for descriptor in opened:
            os.write(descriptor, b" and ended")
        again = os.open(data / "0", os.O_WRONLY)
        os.close(again)
        assert (drive.data(PENGUINS) / "penguins.csv").read_bytes()
        assert drive.status()["errors"]["ENFILE"] == 1
    finally:
        for descriptor in opened:
            os.close(descriptor)
    (data / "last").write_bytes(b"there is room again")
    for number in range(len(opened)):
        assert (data / f"{number}").read_bytes() == b"begun and ended"
