"""Names that are removed one right after the other: their objects are deleted behind.

The server honours conditions; the proxy before it stalls, fails and cuts.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.content.journal_schema import Action
from provenafs.content.listing.index import Listed
from provenafs.content.recovery import Recovery
from provenafs.content.volume import Volume
from provenafs.errors import FSError
from provenafs.s3.deleting import Removal
from provenafs.s3.errors import AccessDenied, PreconditionFailed, Unavailable
from provenafs.s3.metadata import Head, Metadata
from tests.support.faultproxy import Request, is_delete
from tests.support.memory_bucket import Fault, MemoryServer, cut, lose_answer, s3_failure, stall
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, make_intent, objects, open_store, recovering

_IO_TIMEOUT_S = 2.0
_MANY = 40


@pytest.fixture
async def store(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> AsyncIterator[Store]:
    other_user.looks_at_etags_of_many = False  # so that they are deleted one by one
    for number in range(_MANY):
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}d/{number:02}", Body=b"x")
    async with open_store(faulty, prefix, tmp_path, io_timeout=_IO_TIMEOUT_S) as store:
        yield store


def first(count: int) -> list[str]:
    return [f"d/{number:02}" for number in range(count)]


async def remove(store: Store, paths: Sequence[str]) -> None:
    """The first waits for the bucket, as every unlink that comes alone."""
    for path in paths:
        await store.unlink(path)


async def remove_two(store: Store, faulty: MemoryServer, fault: Fault) -> None:
    """The deletion of d/01, behind, meets a fault."""
    await store.unlink("d/00")
    faulty.fail(is_delete, fault)
    await store.unlink("d/01")


async def test_all_that_a_directory_held_is_gone_when_it_is(
    store: Store, other_user: MemoryClient
) -> None:
    await remove(store, first(_MANY))
    assert await store.names("d") == []
    await store.rmdir("d")
    assert objects(other_user, store.prefix) == {}
    assert await store.journal.intents() == []


async def test_an_unlink_that_comes_alone_waits_for_the_bucket(
    store: Store, other_user: MemoryClient
) -> None:
    for path in first(2):
        await store.unlink(path)
        assert path not in objects(other_user, store.prefix)
        await trio.sleep(0.2)


async def test_others_do_not_wait_and_are_seen_by_nobody(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await remove_two(store, faulty, stall())
    store.index.expire((await store.entry("d")).ino)
    assert (await store.names("d"))[0] == "02"
    assert "d/01" in objects(other_user, store.prefix)
    assert [one.key for one in store.store.transfers()] == [f"{store.prefix}d/01"]
    faulty.heal()
    await store.store.sync(store.volume)
    assert "d/01" not in objects(other_user, store.prefix)
    assert store.store.transfers() == []


async def test_what_is_not_answered_ends_in_time(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await store.unlink("d/00")
    faulty.fail(is_delete, stall())
    with trio.fail_after(20 * _IO_TIMEOUT_S):
        with pytest.raises(Unavailable):
            await remove(store, first(_MANY)[1:])
        with pytest.raises(Unavailable):
            await store.store.sync(store.volume)
        with pytest.raises(Unavailable):
            await store.write("d/01", b"new")
        with pytest.raises((Unavailable, FSError)):
            await store.rmdir("d")
    taken = _MANY - len(await store.names("d"))
    assert taken < _MANY / 2
    faulty.heal()
    await store.store.drain()
    assert len(objects(other_user, store.prefix)) == _MANY - taken
    assert store.failures == []


async def test_a_deletion_that_is_cut_off_is_made_in_the_end(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await remove_two(store, faulty, cut())
    await trio.sleep(2 * _IO_TIMEOUT_S)
    faulty.heal()
    await store.store.sync()
    assert "d/01" not in objects(other_user, store.prefix)
    assert store.failures == []


async def test_what_somebody_else_has_changed_stays_and_is_shown(
    store: Store, other_user: MemoryClient
) -> None:
    await store.names("d")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/07", Body=b"theirs")
    await remove(store, first(_MANY))
    with pytest.raises(FSError) as caught:
        await store.rmdir("d")
    assert caught.value.errno == errno.ENOTEMPTY
    assert await store.names("d") == ["07"]
    assert await store.read("d/07") == b"theirs"


@pytest.mark.expects_errors("could not be removed")
async def test_what_may_not_be_deleted_is_told_and_shown_again(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await remove_two(store, faulty, s3_failure("403 Forbidden", "AccessDenied"))
    with pytest.raises(AccessDenied):
        await store.store.sync(store.volume)
    assert [type(error) for error in store.failures] == [AccessDenied]
    assert (await store.names("d"))[0] == "01"
    # Whoever goes on is told at once, also after names that can be removed.
    for path in ("d/02", "d/03"):
        with pytest.raises(AccessDenied):
            await store.unlink(path)
    assert len(objects(other_user, store.prefix)) == _MANY - 1


@pytest.mark.expects_errors("could not be removed")
async def test_a_failure_that_is_not_foreseen_leaves_the_mount_alive(
    store: Store, other_user: MemoryClient
) -> None:
    await store.unlink("d/00")

    async def refuse() -> None:
        if store.deferred_deletes.owed():
            raise ValueError("of somebody else's code")

    store.volume = replace(store.volume, may_write=refuse)
    await store.unlink("d/01")
    await store.store.drain()
    assert [type(error) for error in store.failures] == [ValueError]
    assert "d/01" in objects(other_user, store.prefix)
    assert (await store.names("d"))[0] == "01"


@pytest.mark.expects_errors("could not be removed")
async def test_a_dataset_that_is_released_meanwhile_keeps_its_objects(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await remove_two(store, faulty, s3_failure("503 Slow Down", "SlowDown"))
    store.refusal = FSError(errno.EROFS, "released")
    await trio.sleep(_IO_TIMEOUT_S)
    faulty.heal()
    await store.store.drain()
    assert "d/01" in objects(other_user, store.prefix)
    assert store.failures == [store.refusal]


@pytest.mark.expects_errors("could not be removed")
async def test_a_refusal_is_told_by_the_next_removal_in_the_directory(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write("other", b"new")
    await remove_two(store, faulty, s3_failure("403 Forbidden", "AccessDenied"))
    await store.store.drain()
    faulty.heal()
    await store.unlink("other")  # in another directory
    with pytest.raises(AccessDenied, match="01"):
        await store.unlink("d/02")
    assert "d/02" in objects(other_user, store.prefix)
    await store.unlink("d/02")
    await store.store.sync(store.volume)


async def test_equal_bytes_stored_between_two_attempts_stay(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is carried out, and its answer lost."""
    await store.names("d")
    # S3 tells the time of an object in seconds.
    monkeypatch.setattr("provenafs.s3.calls._FIRST_PAUSE_S", 1.6)
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)

    def store_anew(request: Request) -> bool:
        if request.method == "HEAD" and request.path.endswith("/d/00"):
            other_user.put_object(Bucket=BUCKET, Key=f"{store.prefix}d/00", Body=b"x")
        return False

    faulty.fail(is_delete, lose_answer(), times=1)
    faulty.fail(store_anew, cut())
    with pytest.raises(FSError) as caught:
        await store.unlink("d/00")
    assert caught.value.errno == errno.ESTALE
    assert faulty.count(is_delete) == 1
    assert "d/00" in objects(other_user, store.prefix)


def test_what_was_stored_since_is_told_by_the_servers_clock() -> None:
    def head(modified: float, **more: Any) -> Head:
        return Head(1, '"a"', int(modified * 1e9), Metadata(more.pop("write_id", "")), **more)

    Removal("key", '"a"', 1000.0).check(head(999.0))
    Removal("key", '"a"', 1000.0).check(head(1200.0, ahead=300.0))
    for since in (head(1001.0), head(800.0, ahead=-300.0)):
        with pytest.raises(PreconditionFailed):
            Removal("key", '"a"', 1000.0).check(since)
    seen = Removal("key", '"a"', 1000.0)
    seen.check(head(999.0, version="1"))
    for other in (head(999.0, version="2"), head(999.0, version="1", write_id="w")):
        with pytest.raises(PreconditionFailed):
            seen.check(other)


@pytest.mark.parametrize("size", [1, 20 * MIB])
async def test_a_late_deletion_does_not_take_what_was_written_since(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, size: int
) -> None:
    """An attempt that was given up reaches the bucket after the same bytes were written again."""
    where = {"Bucket": BUCKET, "Key": f"{store.prefix}d/00"}
    await store.write("d/00", bytes(size))
    etag = other_user.head_object(**where)["ETag"]
    faulty.fail(is_delete, stall())
    with pytest.raises(Unavailable):
        await store.unlink("d/00")
    faulty.heal()
    await store.write("d/00", bytes(size))
    assert other_user.head_object(**where)["ETag"] != etag  # so that If-Match does not hold
    assert await store.read("d/00") == bytes(size)


async def test_an_unlink_that_was_carried_out_without_an_answer_is_seen(
    store: Store, faulty: MemoryServer
) -> None:
    await store.names("d")
    faulty.fail(is_delete, lose_answer())
    faulty.fail(lambda request: request.method == "HEAD", s3_failure("503 Slow Down", "SlowDown"))
    with pytest.raises(Unavailable):
        await store.unlink("d/00")
    faulty.heal()
    assert (await store.names("d"))[0] == "01"


@pytest.mark.parametrize("make", ["write", "mkdir", "rename"])
async def test_a_name_can_be_used_again_at_once(
    store: Store, other_user: MemoryClient, make: str
) -> None:
    await store.write("other", b"new")
    await remove(store, first(5))
    if make == "write":
        await store.write("d/04", b"x")  # the same bytes, so the same ETag
    elif make == "mkdir":
        await store.mkdir("d/04")
    else:
        await store.rename("other", "d/04")
    await store.store.drain()
    assert (await store.names("d"))[0] == "04"
    stored = objects(other_user, store.prefix)
    assert {"write": "d/04", "mkdir": "d/04/", "rename": "d/04"}[make] in stored


async def test_a_listing_under_way_does_not_bring_a_name_back(
    store: Store, faulty: MemoryServer
) -> None:
    index = store.index
    await store.unlink("d/00")
    directory = await store.entry("d")
    stamp = index.begin_listing()  # asked for while the object was there
    seen = [entry for entry in index.children(directory.ino) if entry.name == "01"]
    await store.unlink("d/01")
    later = index.begin_listing()
    await store.store.drain()
    for listing in (stamp, later):
        index.merge(listing, directory.ino, [Listed("01", 1, seen[0].etag)])
    assert index.child(directory.ino, "01") is None


@pytest.mark.expects_errors("could not be removed")
@pytest.mark.parametrize("make", ["mkdir", "rename"])
async def test_a_name_whose_deletion_is_refused_is_still_taken(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, make: str
) -> None:
    scratch = await store.open("d/.x.swp", os.O_CREAT | os.O_WRONLY)
    await scratch.write(0, b"new")
    await scratch.release()
    await store.unlink("d/00")
    faulty.fail(is_delete, s3_failure("503 Slow Down", "SlowDown"), times=1)
    faulty.fail(is_delete, s3_failure("403 Forbidden", "AccessDenied"))
    await store.unlink("d/01")
    if make == "mkdir":
        with pytest.raises(FSError) as caught:
            await store.mkdir("d/01")
        assert caught.value.errno == errno.EEXIST
    else:
        await store.rename("d/.x.swp", "d/01")
    stored = objects(other_user, store.prefix)
    assert stored["d/01"] == {"mkdir": b"x", "rename": b"new"}[make]
    assert "d/01/" not in stored


async def test_a_file_opened_while_an_unlink_waits_for_room_lives_on(
    store: Store, faulty: MemoryServer
) -> None:
    await store.unlink("d/00")
    faulty.fail(is_delete, stall())
    for path in first(17)[1:]:
        await store.unlink(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.unlink, "d/17")
        await trio.sleep(0.1)
        handle = await store.open("d/17", os.O_RDONLY)
        faulty.heal()
    await store.store.sync()
    assert bytes(await handle.read(0, 10)) == b"x"
    await handle.release()


async def test_a_deletion_that_cannot_be_struck_off_is_not_made_twice(
    store: Store, other_user: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.unlink("d/00")
    fulfil, failures = store.journal.complete_intent, [FSError(errno.ENOSPC, "full")]

    async def fail_once(intent: str) -> None:
        if failures:
            raise failures.pop()
        await fulfil(intent)

    monkeypatch.setattr(store.journal, "complete_intent", fail_once)
    await store.unlink("d/01")
    await store.write("d/01", b"x")
    assert await store.journal.intents() == []
    assert "d/01" in objects(other_user, store.prefix)


async def test_what_another_mount_stores_meanwhile_stays(
    store: Store,
    faulty: MemoryServer,
    prefix: str,
    tmp_path: Path,
    server: MemoryServer,
    other_user: MemoryClient,
) -> None:
    async with open_store(server, prefix, tmp_path) as other:
        await remove_two(store, faulty, s3_failure("503 Slow Down", "SlowDown"))
        await trio.sleep(1.5 * _IO_TIMEOUT_S)
        await other.write("d/01", b"x")  # the same bytes, so the same ETag
        await trio.sleep(3 * _IO_TIMEOUT_S)  # an attempt that has begun may take that long
        faulty.heal()
        await store.store.drain()
    assert "d/01" in objects(other_user, prefix)
    assert (await store.names("d"))[0] == "01"


@asynccontextmanager
async def mounted_again(
    server: MemoryServer, prefix: str, folder: Path, other_user: MemoryClient
) -> AsyncIterator[tuple[Store, Recovery]]:
    """After a mount that was ended with the deletion of d/01 acknowledged and not made."""
    for path in first(5):
        other_user.put_object(Bucket=BUCKET, Key=prefix + path, Body=b"x")
    faulty = MemoryServer(server.client)
    async with open_store(faulty, prefix, folder) as store:
        await remove_two(store, faulty, stall())
    assert "d/01" in objects(other_user, prefix)
    async with recovering(server, prefix, folder) as (store, recovery):
        store.index.expire_all()
        yield store, recovery


async def test_the_next_mount_deletes_what_was_acknowledged(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with mounted_again(server, prefix, tmp_path, other_user) as (store, recovery):
        assert await store.names("d") == ["02", "03", "04"]
        await recovery.resume()
        assert await store.names("d") == ["02", "03", "04"]
        await store.store.drain()
        assert await store.names("d") == ["02", "03", "04"]
        assert await store.journal.intents() == []
    assert set(objects(other_user, prefix)) == set(first(5)[2:])


async def test_the_next_mount_leaves_what_was_stored_since(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with mounted_again(server, prefix, tmp_path, other_user) as (store, recovery):
        await trio.sleep(1.1)  # S3 tells the time of an object in seconds
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}d/01", Body=b"x")
        await recovery.resume()
        await store.store.drain()
        assert await store.names("d") == ["01", "02", "03", "04"]
        assert await store.journal.intents() == []
    assert "d/01" in objects(other_user, prefix)


async def test_names_are_used_before_recovery_comes_to_them(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with mounted_again(server, prefix, tmp_path, other_user) as (store, recovery):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, "d/01", b"x")
            nursery.start_soon(store.unlink, "d/02")
            nursery.start_soon(store.unlink, "d/03")
            await trio.sleep(0.1)
            await recovery.resume()
        await store.store.drain()
        assert await store.names("d") == ["01", "04"]
    assert set(objects(other_user, prefix)) == {"d/01", "d/04"}


async def test_one_name_in_the_journals_of_two_mounts(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    etag = other_user.put_object(Bucket=BUCKET, Key=prefix + "a", Body=b"x")["ETag"]
    async with open_store(server, prefix, tmp_path) as store:
        journal = store.journal
        for tag in (etag, '"other"'):
            intent = make_intent(journal, Action.DELETE, "d", prefix + "a", etag=tag)
            await journal.record_intent(intent)
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        await store.store.drain()
        assert await store.names() == []
        assert await store.journal.intents() == []
    assert objects(other_user, prefix) == {}


@pytest.mark.expects_errors("stays in recovery: no role")
async def test_a_dataset_that_is_out_of_reach_keeps_its_deletions(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with mounted_again(server, prefix, tmp_path, other_user) as (store, _):
        pass

    async def volume_of(dataset: str) -> Volume:
        raise FSError(errno.EACCES, "no role")

    async with open_store(server, prefix, tmp_path) as store:
        recovery = Recovery(store.store, volume_of)
        await recovery.adopt()
        await recovery.resume()
        await store.store.drain()
        assert (await store.names("d"))[0] == "01"
        assert len(await store.journal.intents()) == 1


async def test_a_deletion_of_an_earlier_mount_does_not_take_what_is_written_now(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    etag = other_user.put_object(Bucket=BUCKET, Key=prefix + "a", Body=b"x")["ETag"]
    async with open_store(faulty, prefix, tmp_path) as store:
        journal = store.journal
        await journal.record_intent(
            make_intent(journal, Action.DELETE, "d", prefix + "a", etag=etag)
        )
    async with recovering(faulty, prefix, tmp_path) as (store, recovery):
        faulty.fail(is_delete, s3_failure("503 Slow Down", "SlowDown"), times=2)
        await recovery.resume()
        assert await store.names() == []
        handle = await store.open("a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        await handle.write(0, b"x")
        await handle.flush()
        await handle.release()
        await store.store.drain()
    assert objects(other_user, prefix) == {"a": b"x"}
