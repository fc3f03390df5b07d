"""Indexers and thumbnailers get what is on this machine, and make nothing be fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.support.mounting import MountAs


def test_an_indexer_may_not_fetch(mount_as: MountAs, tmp_path: Path) -> None:
    indexer = tmp_path / "tumblerd"
    shutil.copy(shutil.which("cat") or "/bin/cat", indexer)
    drive = mount_as("alice")
    path = next(drive.data("10378.1/1451860").rglob("*.nc"))
    assert os.getxattr(path, "user.provena.cached") == b"0"
    refused = subprocess.run([indexer, path], capture_output=True, check=False)
    assert b"Permission denied" in refused.stderr
    content = path.read_bytes()
    deadline = time.monotonic() + 20  # blocks reach the disk behind the reader
    while int(os.getxattr(path, "user.provena.cached")) < len(content):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    allowed = subprocess.run([indexer, path], capture_output=True, check=True)
    assert allowed.stdout == content


def test_metrics_are_what_prometheus_reads(mount_as: MountAs) -> None:
    lines = (mount_as("alice").path / ".provenafs/metrics").read_text().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert int(samples['provenafs_operations_total{operation="lookup"}']) > 0
    assert samples["provenafs_pending_files"] == "0"
    for direction in ("download", "upload"):
        assert int(samples[f'provenafs_connections_limit{{direction="{direction}"}}']) > 0
        assert (
            int(samples[f'provenafs_throughput_bytes_per_second{{direction="{direction}"}}']) >= 0
        )
    assert 10_000_000 < int(samples["provenafs_peak_rss_bytes"]) < 200_000_000
