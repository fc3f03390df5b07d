"""A log that several mounts share: rotated by one at a time, and never waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from provenafs import private

_THREE_LINES = """
import logging, sys
from pathlib import Path
from provenafs.cli import logs
from provenafs.config import load_settings
logs._LONGEST = 200
logs.log_to_file(load_settings(state_dir=Path(sys.argv[1])), Path("/mnt"))
for number in range(3):
    logging.getLogger("provenafs").warning("line %d %s", number, "x" * 150)
"""


def _log_three_lines(state: Path) -> None:
    """In a process that rotates its log after a line."""
    subprocess.run([sys.executable, "-c", _THREE_LINES, state], check=True, timeout=60)


def test_a_full_log_is_rotated(tmp_path: Path) -> None:
    _log_three_lines(tmp_path)
    log = tmp_path / "log/default.log"
    assert "line 2" in log.read_text()
    assert "line 1" in log.with_name("default.log.1").read_text()


def test_another_process_that_rotates_is_not_waited_for(tmp_path: Path) -> None:
    _log_three_lines(tmp_path)
    log = tmp_path / "log/default.log"
    lock = private.open_locked(log.with_name("default.log.lock"))
    try:
        _log_three_lines(tmp_path)
    finally:
        os.close(lock)
    assert log.read_text().count("provenafs: line") == 4  # no file was begun
