"""Writes files one after the other and says which closes were acknowledged, until it is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from tests.support.store import MIB, open_store


async def main(address: str, prefix: str, folder: Path, writeback: bool) -> None:
    async with open_store(address, prefix, folder, writeback=writeback) as store:
        for number in range(1000):
            handle = await store.open(f"{number}", os.O_CREAT | os.O_WRONLY)
            print(f"opened {number}", flush=True)
            data = content_of(number)
            for offset in range(0, len(data), MIB):
                await handle.write(offset, data[offset : offset + MIB])
            await handle.flush()
            print(f"closed {number}", flush=True)
            await handle.release()


def content_of(number: int) -> bytes:
    """What the writer writes into a file; every fifth takes several parts."""
    size = 20 * MIB if number % 5 == 4 else 1000
    return f"{number:8}".encode() * (size // 8)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "1")
