"""Several processes append to one file, and empty it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.mounting import Drive

_APPENDERS = Path(__file__).with_name("truncating_appenders.py")


def test_an_append_goes_to_the_end_though_others_empty_the_file(writer: Drive, handle: str) -> None:
    command: list[str | Path] = [sys.executable, _APPENDERS, writer.data(handle), "12", "30"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert done.stdout == b""


def test_opening_empties_a_file_by_a_request_of_its_own(writer: Drive, handle: str) -> None:
    path = writer.data(handle) / "f"
    path.write_bytes(b"old")
    before = writer.status()["operations"].get("setattr", 0)
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        assert os.fstat(descriptor).st_size == 0
        assert writer.status()["operations"]["setattr"] == before + 1
    finally:
        os.close(descriptor)
    assert path.read_bytes() == b""
