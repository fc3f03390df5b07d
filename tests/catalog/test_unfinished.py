"""The uploads of a copy, on a disk that is full for a while."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provenafs.catalog.unfinished import unfinished


class Killed(Exception):
    """Stands for the end of the process, at which the file stays."""


@contextmanager
def full_from(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left_behind(path: Path) -> list[tuple[str, str]]:
    with unfinished(path) as uploads:
        return uploads.left_behind


@pytest.mark.parametrize("room", range(1, 8))
def test_a_line_cut_off_by_a_full_disk_is_not_joined_with_the_next(
    tmp_path: Path, room: int
) -> None:
    path = tmp_path / "copies" / "one"
    with pytest.raises(Killed), unfinished(path) as uploads:
        uploads.begun("a", "1")
        with full_from(path.stat().st_size + room), pytest.raises(OSError):
            uploads.begun("b", "2")
        uploads.begun("c", "3")
        raise Killed
    assert left_behind(path) == [("a", "1"), ("c", "3")]
    assert not path.exists()


def test_a_line_cut_off_by_a_crash_is_not_joined_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "copies" / "one"
    with pytest.raises(Killed), unfinished(path) as uploads:
        uploads.begun("a", "1")
        raise Killed
    with path.open("ab") as file:
        file.write(b'["b", ')
    with pytest.raises(Killed), unfinished(path) as uploads:
        assert uploads.left_behind == [("a", "1")]
        uploads.begun("c", "3")
        raise Killed
    assert left_behind(path) == [("a", "1"), ("c", "3")]
