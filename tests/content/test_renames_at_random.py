"""Directories change places at random while several tasks work in them: nobody loses anything.

Every task has names of its own, so that whatever order things happen in, it knows what they hold.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import trio

from provenafs.content.claims import Name
from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from tests.support.memory_bucket import MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.soaking import is_soaking, times
from tests.support.store import Store, objects, open_store

_TASKS = 4
_STEPS = 12
_RENAMES = 8


class _Worker:
    """Makes, changes, renames and removes files of its own in directories known by inode."""

    def __init__(self, store: Store, name: str, directories: list[Entry], seed: int) -> None:
        self.store = store
        self.name = name
        self.directories = directories
        self.random = random.Random(seed)
        self.files: dict[tuple[int, str], bytes] = {}

    async def run(self) -> None:
        """Work, without regard to the renames."""
        for step in range(_STEPS):
            work = self.random.choice([self._make, self._append, self._remove, self._rename])
            await work(f"{self.name}-{step}")
            await trio.sleep(self.random.random() / 100)

    def _choose(self) -> tuple[Entry, str] | None:
        if not self.files:
            return None
        ino, name = self.random.choice(list(self.files))
        return next(entry for entry in self.directories if entry.ino == ino), name

    async def _make(self, name: str) -> None:
        directory = self.random.choice(self.directories)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        _, handle = await self.store.changes.create(self.store.volume, directory, name, flags)
        await handle.write(0, name.encode())
        await trio.sleep(self.random.random() / 100)
        await handle.flush()
        await handle.release()
        self.files[directory.ino, name] = name.encode()

    async def _append(self, name: str) -> None:
        chosen = self._choose()
        if chosen is None:
            return
        entry = await self.store.drive.lookup(*chosen)
        assert entry is not None
        handle = await self.store.changes.open(self.store.volume, entry, os.O_WRONLY)
        await handle.write(handle.file.size, b"+")
        await handle.flush()
        await handle.release()
        self.files[chosen[0].ino, chosen[1]] += b"+"

    async def _remove(self, name: str) -> None:
        chosen = self._choose()
        if chosen is not None:
            await self.store.changes.unlink(self.store.volume, *chosen)
            del self.files[chosen[0].ino, chosen[1]]

    async def _rename(self, name: str) -> None:
        chosen, target = self._choose(), self.random.choice(self.directories)
        if chosen is not None:
            volume, old, new = self.store.volume, Name(*chosen), Name(target, name)
            await self.store.changes.rename(volume, old, new, replace=False)
            self.files[target.ino, name] = self.files.pop((chosen[0].ino, chosen[1]))


async def _shuffle(store: Store, directories: list[Entry], chance: random.Random) -> None:
    """Move the directories to and fro, also into one another."""
    index = store.index
    for _ in range(_RENAMES):
        entry = index.get(chance.choice(directories).ino)
        assert entry is not None
        parent, target = index.get(entry.parent), chance.choice([store.top, *directories])
        assert parent is not None
        try:
            old, new = Name(parent, entry.name), Name(target, chance.choice("pqrs"))
            await store.changes.rename(store.volume, old, new, replace=False)
        except FSError as error:  # into itself; onto another one; moved meanwhile
            assert error.errno in (errno.EINVAL, errno.EEXIST, errno.ENOENT)
        await trio.sleep(chance.random() / 20)


async def test_nothing_is_lost_while_directories_change_places(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    for number in range(times(1)):
        seed = random.randrange(10**6) if is_soaking() else 1
        for writeback in (False, True):
            folder, below = tmp_path / f"{number}-{writeback}", f"{prefix}{number}-{writeback}/"
            async with open_store(server, below, folder, writeback=writeback) as store:
                expected = await _run(store, seed)
                await store.store.drain()
                assert store.failures == [], seed
                assert [row for row, _ in await store.journal.rows()] == [], seed
                assert await store.journal.intents() == [], seed
                shown = {path: await store.read(path) for path in expected}
            found = objects(other_user, below)
            stored = {key: body for key, body in found.items() if not key.endswith("/")}
            assert stored == expected == shown, seed


async def _run(store: Store, seed: int) -> dict[str, bytes]:
    directories = []
    for name in ("p", "q", "p/p", "p/p/p"):
        await store.mkdir(name)
        directories.append(await store.entry(name))
    workers = [_Worker(store, f"{n}", directories, seed + n) for n in range(_TASKS)]
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for number in range(2):
                chance = random.Random(seed + number)
                nursery.start_soon(_shuffle, store, directories, chance)
            for worker in workers:
                nursery.start_soon(worker.run)
    return {
        f"{_path(store, ino)}/{name}": body
        for worker in workers
        for (ino, name), body in worker.files.items()
    }


def _path(store: Store, ino: int) -> str:
    entry = store.index.get(ino)
    assert entry is not None
    return store.drive.key(entry).removeprefix(store.prefix)
