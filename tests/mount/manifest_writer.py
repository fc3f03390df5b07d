"""Changes files in a folder until that fails, and keeps a manifest of what was acknowledged.

Arguments: the folder, the manifest, a seed. Each line of the manifest is written before and after
a change: what it makes of which paths, by SHA-256 (null: no such file), and whether it is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

_NAMES = [f"{folder}/{number}" for folder in ("a", "b") for number in range(6)]
_SIZES = (1, 1000, 70_000, 1_000_000, 12 * 1024 * 1024)


class ManifestWriter:
    """One round of changes, decided by the seed alone."""

    def __init__(self, folder: Path, manifest: TextIO, seed: str) -> None:
        self._folder = folder
        self._manifest = manifest
        self._random = random.Random(seed)
        self._contents: dict[str, bytes] = {}

    def run(self) -> None:
        """Change files for ever; the failure that ends it is the manifest's last line."""
        changes = [
            self._close, self._close, self._append, self._sync, self._rename, self._unlink,
            self._clear,
        ]  # fmt: skip
        try:
            for folder in ("a", "b"):
                (self._folder / folder).mkdir(exist_ok=True)
            while True:
                self._random.choice(changes)(self._random.choice(_NAMES))
        except OSError as error:
            self._note(failed=error.errno)

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice(_SIZES))

    def _close(self, name: str) -> None:
        data = self._bytes()
        self._change({name: data}, lambda: (self._folder / name).write_bytes(data))

    def _append(self, name: str) -> None:
        if name not in self._contents:
            return
        data = self._bytes()

        def append() -> None:
            with (self._folder / name).open("ab") as file:
                file.write(data)

        self._change({name: self._contents[name] + data}, append)

    def _sync(self, name: str) -> None:
        """What fsync acknowledged stays, whatever comes of the bytes behind."""
        # Empty as well: only fsync makes sure of an empty file, close cannot.
        first, second = self._random.choice([b"", self._bytes()]), self._bytes()
        with (self._folder / name).open("wb", buffering=0) as file:

            def write(data: bytes) -> None:
                file.write(data)
                os.fsync(file.fileno())

            self._change({name: first}, lambda: write(first))
            self._change({name: first + second}, lambda: write(second))

    def _rename(self, name: str) -> None:
        if name not in self._contents:
            return
        target = self._random.choice([one for one in _NAMES if one != name])
        self._change(
            {target: self._contents[name], name: None},
            lambda: (self._folder / name).rename(self._folder / target),
        )

    def _unlink(self, name: str) -> None:
        if name in self._contents:
            self._change({name: None}, (self._folder / name).unlink)

    def _clear(self, name: str) -> None:
        """Removed one right after the other, objects are deleted behind."""
        folder = name[:2]
        for one in [one for one in self._contents if one.startswith(folder)]:
            self._unlink(one)

    def _change(self, makes: dict[str, bytes | None], do: Callable[[], object]) -> None:
        sums = {name: data and hashlib.sha256(data).hexdigest() for name, data in makes.items()}
        sums |= {name: hashlib.sha256().hexdigest() for name, data in makes.items() if data == b""}
        self._note(makes=sums, done=False)
        do()
        self._note(makes=sums, done=True)
        for name, data in makes.items():
            self._contents.pop(name, None)
            if data is not None:
                self._contents[name] = data

    def _note(self, **line: object) -> None:
        self._manifest.write(json.dumps(line) + "\n")
        self._manifest.flush()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("a") as manifest:
        ManifestWriter(Path(sys.argv[1]), manifest, sys.argv[3]).run()
