"""fio and stress-ng on a mount: what they write is what they read, also from the bucket."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.mounting import Drive, MountAs
from tests.support.soaking import times

_JOBS = {
    "sequential": ("--rw=write", "--bs=128k"),
    "random": ("--rw=randwrite", "--bs=4k"),
    "mixed": ("--rw=randrw", "--bs=8k", "--fsync=200"),
    "mapped": ("--rw=randwrite", "--bs=4k", "--ioengine=mmap"),
}


@pytest.mark.parametrize("job", _JOBS)
def test_fio_reads_what_it_wrote(
    writer: Drive, mount_as: MountAs, handle: str, tmp_path: Path, job: str
) -> None:
    _fio(writer.data(handle), tmp_path, job, "--do_verify=1")
    # From the bucket, which is all that this mount knows.
    _fio(mount_as("alice").data(handle), tmp_path, job, "--verify_only")


def _fio(folder: Path, cwd: Path, job: str, *mode: str) -> None:
    size = f"--size={times(4)}m"
    _run(
        "fio", f"--name={job}", f"--directory={folder}", size, "--numjobs=2", "--randseed=7",
        "--ioengine=psync", "--fallocate=none", "--verify=crc32c", "--verify_fatal=1",
        "--verify_state_save=0", *_JOBS[job], *mode,
        cwd=cwd,
    )  # fmt: skip


_STRESSORS = {
    "dentry": 30,
    "dir": 30,
    "flock": 50,
    "fstat": 20,
    "getdent": 50,
    "hdd": 20,
    "iomix": 20,
    "readahead": 50,
    "rename": 30,
    "seek": 200,
    "utime": 30,
}


@pytest.mark.parametrize("stressor", _STRESSORS)
def test_stress_ng_finds_nothing_wrong(
    writer: Drive, handle: str, tmp_path: Path, stressor: str
) -> None:
    _run(
        "stress-ng", f"--{stressor}", "1", f"--{stressor}-ops", str(times(_STRESSORS[stressor])),
        "--temp-path", str(writer.data(handle)), "--verify", "--timeout", f"{times(10)}s",
        cwd=tmp_path,
    )  # fmt: skip
    assert list(writer.data(handle).iterdir()) == []


def _run(*command: str, cwd: Path) -> None:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=times(120), check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "fail:" not in output
