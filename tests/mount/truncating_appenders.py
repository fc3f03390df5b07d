"""Three processes that empty a file and append a record to it, each again and again.

Arguments: a folder, how many files to do this to, and how many records each process writes to one.
Prints the names of the files in which there is something else than whole records.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LETTERS = "abc"


def record(letter: str) -> bytes:
    """What a process writes: of another length than what the others write."""
    return letter.encode() * (40 + 20 * _LETTERS.index(letter)) + b"\n"


def append(path: Path, letter: str, count: int) -> None:
    """Empty a file and write a record, `count` times."""
    for _ in range(count):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.write(file, record(letter))
        os.close(file)


def main(folder: Path, files: int, count: int) -> None:
    for number in range(files):
        path = folder / f"log{number}"
        begin, go = os.pipe()
        children = []
        for letter in _LETTERS:
            child = os.fork()
            if not child:
                os.close(go)
                os.read(begin, 1)
                append(path, letter, count)
                os._exit(0)
            children.append(child)
        os.close(go)
        os.close(begin)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        lines = path.read_bytes().splitlines(keepends=True)
        if not lines or not all(line in map(record, _LETTERS) for line in lines):
            print(path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
