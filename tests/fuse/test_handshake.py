"""The kernel's settings can be chosen, or are left as they are."""

from __future__ import annotations

import os
from pathlib import Path

import pyfuse3
import pytest

from provenafs.fuse import handshake


def test_without_a_mount_nothing_is_answered() -> None:
    assert not handshake.truncate_under_lock()


def test_the_libfuse_of_pyfuse3_is_known() -> None:
    assert pyfuse3  # has loaded it
    assert handshake._libfuse_version() >= 310


def test_an_unknown_libfuse_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "_libfuse_version", lambda: 39)
    assert not handshake.truncate_under_lock()


def test_a_kernel_that_does_not_take_the_answer_gets_that_of_libfuse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "f").touch()
    file = os.open(tmp_path / "f", os.O_RDONLY)
    monkeypatch.setattr(handshake, "_device", lambda: file)
    try:
        assert not handshake.truncate_under_lock()
    finally:
        os.close(file)
