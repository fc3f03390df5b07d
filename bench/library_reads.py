"""Runs one of the works in a process of its own, which a read that fails may end."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from bench.rows import Run, output_of
from bench.works import WORKS


def library_read(run: Run, work: str, name: str, count: int = 0) -> float:
    """Seconds that a work takes in the mount; BenchError if it finds other values than on disk.

    It is done on the local disk first, which loads the libraries and gives the values.
    """
    paths = (run.path(name), run.local(name))
    return float(output_of(sys.executable, "-m", "bench.library_reads", work, *paths, str(count)))


def _digest(found: list[bytes]) -> str:
    state = hashlib.sha256()
    for piece in found:
        state.update(len(piece).to_bytes(8, "big") + piece)
    return state.hexdigest()


def _main(work: str, path: str, local: str, count: str) -> None:
    expected = _digest(WORKS[work](Path(local), int(count)))
    started = time.perf_counter()
    found = WORKS[work](Path(path), int(count))
    seconds = time.perf_counter() - started
    if _digest(found) != expected:
        sys.exit(f"{work} has read wrong values")
    print(seconds)


if __name__ == "__main__":
    _main(*sys.argv[1:])
