"""Reads places of a memory-mapped file in a process of its own, which a failed read would end."""

from __future__ import annotations

import json
import sys
import time

import numpy


def main() -> None:
    """Arguments: a path, how many bytes to read at each place, and the places as a JSON list."""
    path, length, places = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    mapped = numpy.memmap(path, mode="r")
    started = time.perf_counter()
    for place in places:
        mapped[place : place + length].tobytes()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
