"""Whatever fails in a task in the background: the others go on, and whoever waits for it learns so.

Each task meets an Exception nobody has thought of, and what pyo3 raises for a panic of Rust code.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from provenafs.content.cache.block_cache import BlockCache
from provenafs.content.journal import Journal
from provenafs.content.listing.keys import ChildrenOfPage
from provenafs.content.listing.listing import DeepListing
from provenafs.content.naming import attribute_updates as touches
from provenafs.content.reading.directory_prefetch import DirectoryPrefetch
from provenafs.content.staging import staged_bytes as staging
from provenafs.s3.bucket import Bucket
from provenafs.s3.writing import ObjectWriter
from tests.support.memory_bucket import MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, objects, open_store

pytestmark = pytest.mark.expects_errors("never thought of", "a library failed with")


class RustPanic(BaseException):
    """As pyo3 raises for a panic: no Exception."""


@pytest.fixture(params=[RuntimeError, RustPanic])
def fail(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a function fail: `fail(owner, name)`, each time or `once`."""

    def arrange(owner: Any, name: str, *, once: bool = False) -> None:
        original = getattr(owner, name)

        def failing(*arguments: Any, **options: Any) -> Any:
            if once:
                monkeypatch.setattr(owner, name, original)
            raise request.param("what was never thought of")

        monkeypatch.setattr(owner, name, failing)

    return arrange


@pytest.fixture
async def store(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> AsyncIterator[Store]:
    """A store that must work at the end, and end as ever."""
    for number in range(6):
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}d/{number}", Body=b"x" * 10)
    with trio.fail_after(30):
        async with open_store(server, prefix, tmp_path) as store:
            yield store
            await store.write("last", b"last")
            assert await store.read("last") == b"last"
            await store.store.drain()
            while store.store.content.memory.used:  # until the cache has what was read
                await trio.sleep(0.01)


async def fails(work: Callable[..., Awaitable[object]], *arguments: Any) -> None:
    """The work must fail, and soon, with an Exception."""
    with trio.fail_after(10), pytest.raises(Exception):  # noqa: B017
        await work(*arguments)


async def test_a_listing(store: Store, fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await store.names("d") == list("012345")
    with monkeypatch.context() as patch:
        patch.setattr(store.store.content, "ttl", 0.0)
        fail(Bucket, "list", once=True)
        await fails(store.names, "d")
        assert await store.names("d") == list("012345")


async def test_merging_a_listing(store: Store, fail: Any) -> None:
    fail(ChildrenOfPage, "feed", once=True)
    await fails(store.names, "d")
    assert await store.names("d") == list("012345")


async def test_a_listing_ahead_of_a_walk(store: Store, fail: Any) -> None:
    fail(DeepListing, "run")
    walker = store.drive._walker
    for name in ("a/", "b/", "c/", "d/"):
        assert not await walker.has_listed(store.prefix + name)
    assert await store.names("d") == list("012345")


async def test_fetching_what_is_read(store: Store, fail: Any) -> None:
    fail(Bucket, "read_range", once=True)
    await fails(store.read, "d/0")
    assert await store.read("d/0") == b"x" * 10


async def test_caching_what_was_read(store: Store, fail: Any) -> None:
    fail(BlockCache, "store")
    assert await store.read("d/0") == b"x" * 10
    assert await store.read("d/1") == b"x" * 10


async def test_dropping_what_was_fetched_ahead(store: Store, fail: Any) -> None:
    siblings = DirectoryPrefetch(
        store.index, lambda _: None, store.store.content.memory, store.store.content.nursery
    )
    entries = [await store.entry(f"d/{number}") for number in range(6)]
    fail(trio, "sleep", once=True)
    for entry in entries[:4]:
        siblings.first_read(entry)
    await trio.testing.wait_all_tasks_blocked()
    assert not siblings._sweeper._is_running


async def test_the_end_of_a_file_on_its_way_to_the_disk(store: Store, fail: Any) -> None:
    handle = await store.open("big", os.O_CREAT | os.O_WRONLY)
    fail(staging, "write_directly", once=True)
    data = os.urandom(20 * MIB)
    for offset in range(0, len(data), MIB):
        await handle.write(offset, data[offset : offset + MIB])
    await handle.flush()
    await handle.release()
    assert await store.read("big") == data


async def test_a_part_sent_ahead(
    store: Store, fail: Any, other_user: MemoryClient, prefix: str
) -> None:
    fail(ObjectWriter, "upload_part", once=True)
    data = os.urandom(20 * MIB)
    await store.write("big", data)
    assert objects(other_user, prefix)["big"] == data


async def test_a_deletion_that_is_made_behind(store: Store, fail: Any) -> None:
    await store.names("d")
    await store.unlink("d/0")
    fail(ObjectWriter, "delete", once=True)
    await store.unlink("d/1")
    await store.deferred_deletes.flush()
    assert "d/1" in [f"d/{name}" for name in await store.names("d")]
    await store.write("d/1", b"again")
    assert await store.read("d/1") == b"again"


async def test_a_time_brought_into_the_object(
    store: Store, fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touches, "_WAIT_S", 0.01)
    fail(touches, "copy_with_attributes", once=True)
    await store.set_mtime("d/0", 1e9)
    await store.set_mtime("d/1", 1e9)
    while store.attribute_updates._running:
        await trio.sleep(0.01)
    await store.set_mtime("d/2", 1e9)
    assert store.attribute_updates._running
    await store.attribute_updates.flush()


async def test_storing_behind(
    server: MemoryServer, prefix: str, tmp_path: Path, fail: Any, other_user: MemoryClient
) -> None:
    with trio.fail_after(30):
        async with open_store(server, prefix, tmp_path, writeback=True) as store:
            fail(ObjectWriter, "put", once=True)
            await store.write("a", b"a")
            await store.store.drain()
            await store.write("b", b"b")
            await store.store.drain()
    assert objects(other_user, prefix)["b"] == b"b"


async def test_the_upkeep_of_the_journal(
    store: Store, fail: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("provenafs.content.store._JOURNAL_FLUSH_S", 0.01)
    fail(Journal, "flush", once=True)
    with caplog.at_level(logging.WARNING):
        while "never thought of" not in caplog.text and not store.store.nursery.failures:
            await trio.sleep(0.01)
