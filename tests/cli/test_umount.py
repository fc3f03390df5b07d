"""Unmounting what does not tell of itself: in a sentence, never as if it had been waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provenafs.cli import transfers
from provenafs.cli import umount as verbs
from provenafs.cli.transfers import wait_until_stored
from provenafs.fuse import mountpoint
from provenafs.fuse.mountpoint import FILESYSTEM_TYPE, Mounted, MountError


@pytest.mark.parametrize("force", [False, True])
def test_a_mount_that_tells_no_process_is_not_waited_for_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """A directory stands in for a mount that answers, but has no status.json."""
    unmounted: list[Path] = []
    no_connection = "0:99999999"
    mounted = Mounted(tmp_path, FILESYSTEM_TYPE, no_connection, os.getuid())
    monkeypatch.setattr(mountpoint, "mounted_at", lambda _: mounted)
    monkeypatch.setattr(mountpoint, "unmount", lambda path, *, lazy: unmounted.append(path))
    with pytest.raises(MountError, match=r"is unmounted, but .* whether that has ended"):
        verbs.umount(tmp_path, force=force)
    assert unmounted == [tmp_path]


def test_what_cannot_be_opened_is_told_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MountError, match=r"not everything could be stored \(No such file"):
        wait_until_stored(tmp_path / "gone")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("worth_a_line_s", "says"), [(60.0, False), (-1.0, True)])
def test_a_sync_that_took_long_ends_with_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    worth_a_line_s: float,
    says: bool,
) -> None:
    """A local directory stands in for a mount."""
    mounted = Mounted(tmp_path, FILESYSTEM_TYPE, "0:99999999", os.getuid())
    monkeypatch.setattr(transfers, "our_mounts", lambda: [mounted])
    monkeypatch.setattr(transfers, "_WORTH_A_LINE_S", worth_a_line_s)
    transfers.sync()
    line = f"All that was written in {tmp_path} is stored.\n"
    assert capfd.readouterr().out == (line if says else "")
