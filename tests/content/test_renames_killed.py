"""Renames that a kill cuts off: the next mount ends them, and touches nothing that came since.

The state of a mount is copied at the moment of the kill, since it goes on to its end here.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import outcome
import pytest
import trio

from provenafs.content.journal_schema import Action, Move, State
from provenafs.content.naming.moves import move_below
from provenafs.content.recovery import Recovery
from provenafs.errors import FSError
from provenafs.s3.errors import S3Error
from tests.support.faultproxy import Request
from tests.support.memory_bucket import Exchange, Fault, MemoryServer, lose_answer, s3_failure
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import Store, hold_uploads, make_intent, objects, open_store, recovering

_FILES = {"d/": b"", "d/a": b"a", "d/b": b"b"}


def _put(other_user: MemoryClient, prefix: str, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        other_user.put_object(Bucket=BUCKET, Key=prefix + name, Body=body)


def _clear(other_user: MemoryClient, prefix: str) -> None:
    for name in objects(other_user, prefix):
        other_user.delete_object(Bucket=BUCKET, Key=prefix + name)


def _kill(state: Path, into: Path, *, carried_out: bool) -> Fault:
    """The end comes while the server has a request, or has answered it to nobody."""

    async def fault(exchange: Exchange) -> Any:
        if carried_out:
            outcome.capture(exchange.carry_out)
        shutil.copytree(state, into)
        await exchange.closing.wait()
        raise ConnectionResetError

    return fault


async def _rename_killed(
    faulty: MemoryServer,
    prefix: str,
    folder: Path,
    names: tuple[str, str],
    at: int,
    carried_out: bool,
) -> bool:
    """Rename in a mount that is killed at a request; False if there are not so many."""
    count, killed = 0, folder / "killed"

    def matches(request: Request) -> bool:
        nonlocal count
        count += request.method in ("PUT", "DELETE")
        return count == at

    async with open_store(faulty, prefix, folder / "first") as store:
        fault = _kill(folder / "first" / "state", killed / "state", carried_out=carried_out)
        faulty.fail(matches, fault, times=1)
        async with trio.open_nursery() as nursery:

            async def rename() -> None:
                await store.rename(*names)
                nursery.cancel_scope.cancel()

            nursery.start_soon(rename)
            while not (killed / "state" / "journal.sqlite").exists():
                await trio.sleep(0.005)
            await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    faulty.heal()
    return killed.exists()


@pytest.mark.parametrize(
    ("names", "before", "after", "carried_out"),
    [
        (("f", "g"), {"f": b"f"}, {"g": b"f"}, True),
        (("f", "g"), {"f": b"f", "g": b"g"}, {"g": b"f"}, False),
        (("d", "e"), {"d/": b"", "d/a": b"a"}, {"e/": b"", "e/a": b"a"}, False),
        (("d", "e"), {"d/": b"", "d/a": b"a"}, {"e/": b"", "e/a": b"a"}, True),
    ],
)
async def test_a_killed_rename_is_ended(
    faulty: MemoryServer,
    prefix: str,
    tmp_path: Path,
    other_user: MemoryClient,
    names: tuple[str, str],
    before: dict[str, bytes],
    after: dict[str, bytes],
    carried_out: bool,
) -> None:
    for at in range(1, 10):
        _clear(other_user, prefix)
        _put(other_user, prefix, before)
        folder = tmp_path / str(at)
        if not await _rename_killed(faulty, prefix, folder, names, at, carried_out):
            break
        async with recovering(faulty, prefix, folder / "killed") as (store, recovery):
            await recovery.resume()
            await store.store.drain()
            assert await recovery.items() == []
            assert objects(other_user, prefix) == after, at
            assert {name.rstrip("/") for name in after if "/" not in name[:-1]} == set(
                await store.names()
            )
    assert at > 2


def _put_in_parts(other_user: MemoryClient, key: str, data: bytes) -> None:
    """As other clients store large files: with no metadata, and an ETag that no copy has."""
    named = {"Bucket": BUCKET, "Key": key}
    upload = {**named, "UploadId": other_user.create_multipart_upload(**named)["UploadId"]}
    sent = other_user.upload_part(**upload, PartNumber=1, Body=data)
    parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
    other_user.complete_multipart_upload(**upload, MultipartUpload=parts)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_killed_rename_of_what_was_stored_in_parts_is_ended(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient, carried_out: bool
) -> None:
    for names, before, after in ((("f", "g"), "f", "g"), (("d", "e"), "d/a", "e/a")):
        for at in (1, 2):
            _clear(other_user, prefix)
            _put_in_parts(other_user, prefix + before, b"large")
            folder = tmp_path / f"{before[0]}{at}"
            assert await _rename_killed(faulty, prefix, folder, names, at, carried_out)
            async with recovering(faulty, prefix, folder / "killed") as (_, recovery):
                await recovery.resume()
                assert await recovery.items() == []
            assert objects(other_user, prefix) == {after: b"large"}


@pytest.mark.parametrize("finally_answered", [True, False])
async def test_a_copy_of_what_was_stored_in_parts_is_known_without_an_answer(
    faulty: MemoryServer,
    prefix: str,
    tmp_path: Path,
    other_user: MemoryClient,
    finally_answered: bool,
) -> None:
    def is_copy(request: Request) -> bool:
        return "x-amz-copy-source" in request.headers

    _put_in_parts(other_user, prefix + "f", b"large")
    async with open_store(faulty, prefix, tmp_path, io_timeout=1.0) as store:
        faulty.fail(is_copy, lose_answer(), times=1 if finally_answered else 99)
        if finally_answered:
            await store.rename("f", "g")
        else:
            with pytest.raises(S3Error):
                await store.rename("f", "g")
    assert objects(other_user, prefix) == {"g" if finally_answered else "f": b"large"}


async def test_what_is_staged_changes_the_copy_of_what_was_stored_in_parts(
    server: MemoryServer,
    faulty: MemoryServer,
    prefix: str,
    tmp_path: Path,
    other_user: MemoryClient,
) -> None:
    def is_copy(request: Request) -> bool:
        return "x-amz-copy-source" in request.headers

    _put_in_parts(other_user, prefix + "d/a", b"large")
    first, killed = tmp_path / "first", tmp_path / "killed"
    options: dict[str, Any] = {"writeback": True, "io_timeout": 1.0}
    async with open_store(faulty, prefix, first, **options) as store:
        await store.names("d")
        faulty.fail(
            lambda request: request.method == "PUT" and not is_copy(request),
            s3_failure("503 x", "SlowDown"),
        )
        faulty.fail(is_copy, _kill(first / "state", killed / "state", carried_out=True))
        handle = await store.open("d/a", os.O_RDWR)
        await handle.write(0, b"L")
        await handle.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.rename, "d", "e")
            while not (killed / "state" / "journal.sqlite").exists():
                await trio.sleep(0.005)
            await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    faulty.heal()
    async with recovering(server, prefix, killed) as (store, recovery):
        await recovery.resume()
        with trio.fail_after(20):
            await store.store.drain()
        assert await recovery.items() == []
    assert objects(other_user, prefix) == {"e/a": b"Large"}


async def test_what_others_store_before_it_is_ended_stays(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    for at in range(1, 10):
        _clear(other_user, prefix)
        _put(other_user, prefix, {"d/a": b"a", "d/b": b"b"})
        folder = tmp_path / str(at)
        if not await _rename_killed(faulty, prefix, folder, ("d", "e"), at, True):
            break
        theirs = {"d/a": b"theirs", "d/later": b"later", "e/later": b"later"}
        _put(other_user, prefix, theirs)
        async with recovering(faulty, prefix, folder / "killed") as (_, recovery):
            await recovery.resume()
            assert await recovery.items() == []
        found = objects(other_user, prefix)
        copied = {} if found.get("e/a") is None else {"e/a": b"a"}
        assert found == {**theirs, **copied, "e/b": b"b"}, at
    assert at == 5  # two copies and two deletions


async def _moves(store: Store) -> dict[str, Move]:
    """What a rename of d to e is made of, by name."""
    prefix = store.prefix
    page = await store.bucket.list(f"{prefix}d/", delimiter="")
    return {
        item.key.removeprefix(prefix): move_below(item, f"{prefix}d/", f"{prefix}e/")
        for item in page.objects
    }


@asynccontextmanager
async def _left(
    server: MemoryServer, prefix: str, folder: Path, moves: list[tuple[str, float]]
) -> AsyncIterator[tuple[Store, Recovery]]:
    """A mount after one that began to rename d to e: those files, stored so much earlier."""
    async with open_store(server, prefix, folder) as store:
        listed = await _moves(store)
        noted = tuple(
            dataclasses.replace(
                listed[name], modified_ns=(listed[name].modified_ns or 0) - int(earlier * 1e9)
            )
            for name, earlier in moves
        )
        journal = store.journal
        intent = make_intent(
            journal, Action.RENAME, "10.1/2", f"{prefix}d/", target=f"{prefix}e/", moves=noted
        )
        await journal.record_intent(intent)
    async with recovering(server, prefix, folder) as found:
        yield found


async def test_equal_bytes_that_were_stored_since_stay(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, _FILES)
    async with _left(server, prefix, tmp_path, [("d/a", 60.0), ("d/b", 0.0)]) as found:
        await found[1].resume()
        assert await found[1].items() == []
    assert objects(other_user, prefix) == {"d/": b"", "d/a": b"a", "e/b": b"b"}


async def test_names_that_are_owed_a_rename_cannot_be_changed_before_it(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, _FILES)
    async with _left(server, prefix, tmp_path, [("d/a", 0.0)]) as (store, recovery):
        progress = store.store.uploads.progress
        usual, progress.timeout = progress.timeout, 0.1
        for attempt in (
            lambda: store.write("d/a", b"again"),
            lambda: store.unlink("d/a"),
            lambda: store.mkdir("e"),
            lambda: store.rename("d", "elsewhere"),
            lambda: store.truncate("d/b", 0),
        ):
            with pytest.raises(FSError, match="has to wait for the unfinished work") as caught:
                await attempt()
            assert caught.value.errno == errno.EIO
        progress.timeout = usual
        assert await store.read("d/a") == b"a"
        await store.write("other", b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, "d/a", b"again")
            await trio.sleep(0.05)
            nursery.start_soon(recovery.resume)
        assert objects(other_user, prefix) == {
            "d/": b"", "d/a": b"again", "d/b": b"b", "e/a": b"a", "other": b"x",
        }  # fmt: skip


async def test_a_rename_that_cannot_be_ended_is_shown(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, {**_FILES, "e/a": b"else"})
    async with _left(server, prefix, tmp_path, [("d/a", 0.0), ("d/b", 0.0)]) as found:
        store, recovery = found
        (before,) = await recovery.items()
        await recovery.resume()
        (item,) = await recovery.items()
        assert (item.id, item.key, item.target) == (before.id, f"{prefix}d/", f"{prefix}e/")
        assert (item.state, item.in_use) == (State.FAILED, False)
        assert f"{prefix}e/a" in item.reason
        assert objects(other_user, prefix) == {"d/": b"", "d/a": b"a", "e/a": b"else", "e/b": b"b"}
        await store.write("d/b", b"later")
        with pytest.raises(FSError) as caught:
            await recovery.send(item.id)
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(FSError):
            await recovery.export(item.id, tmp_path / "exported")
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        assert [found.id for found in await recovery.items()] == [item.id]
        await store.unlink("e/a")
        await recovery.send(item.id)
        assert await recovery.items() == []
    found_at_last = objects(other_user, prefix)
    assert found_at_last == {"d/": b"", "d/b": b"later", "e/a": b"a", "e/b": b"b"}


async def test_a_rename_that_cannot_be_ended_is_forgotten_on_demand(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, {"d/a": b"a", "e/a": b"else"})
    async with _left(server, prefix, tmp_path, [("d/a", 0.0)]) as (_, recovery):
        await recovery.resume()
        (item,) = await recovery.items()
        await recovery.discard(item.id)
        assert await recovery.items() == []
    assert objects(other_user, prefix) == {"d/a": b"a", "e/a": b"else"}


async def test_what_is_not_stored_yet_goes_with_its_directory(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, _FILES)
    faulty = MemoryServer(server.client)
    async with open_store(faulty, prefix, tmp_path / "first", writeback=True) as store:
        let_go = await hold_uploads(store)
        await store.write("d/new", b"new")
        await store.write("d/a", b"changed")
        rows = [row.id for row, _ in await store.journal.rows()]
        let_go()
    # The end came after the copies: before the rows, and then the deletions.
    async with open_store(server, prefix, tmp_path / "first") as store:
        moves = tuple((await _moves(store)).values())
        intent = make_intent(
            store.journal, Action.RENAME, "10.1/2", f"{prefix}d/", target=f"{prefix}e/",
            moves=moves, rows=tuple(rows),
        )  # fmt: skip
        await store.journal.record_intent(intent)
    async with recovering(server, prefix, tmp_path / "first") as (store, recovery):
        with trio.fail_after(20):
            await recovery.resume()
            await store.store.drain()
        assert await recovery.items() == []
    assert objects(other_user, prefix) == {
        "e/": b"", "e/a": b"changed", "e/b": b"b", "e/new": b"new",
    }  # fmt: skip


async def test_a_rename_over_what_was_promised_has_one_outcome(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    states: list[Path] = []
    options: dict[str, Any] = {"writeback": True, "io_timeout": 1.0}
    async with open_store(server, prefix, tmp_path / "first", **options) as store:
        await hold_uploads(store)
        await store.write("f", b"f")
        await store.write("g", b"g")
        journal = store.journal
        commit = journal._commit

        def noting(tickets: Any) -> None:
            commit(tickets)
            states.append(tmp_path / f"{len(states)}")
            shutil.copytree(tmp_path / "first" / "state", states[-1] / "state")

        journal._commit = noting  # type: ignore[method-assign]
        await store.rename("f", "g")
        journal._commit = commit  # type: ignore[method-assign]
    assert states
    for state in states:
        _clear(other_user, prefix)
        async with recovering(server, prefix, state) as (store, recovery):
            await recovery.resume()
            with trio.fail_after(20):
                await store.store.drain()
            assert await recovery.items() == []
        assert objects(other_user, prefix) == {"g": b"f"}
        assert list((state / "state" / "staging").iterdir()) == []


@pytest.mark.parametrize("is_made", [True, False])
async def test_a_stored_file_takes_the_place_of_a_promised_one(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient, is_made: bool
) -> None:
    def is_copy(request: Request) -> bool:
        return "x-amz-copy-source" in request.headers

    def is_put_of_g(request: Request) -> bool:
        return request.method == "PUT" and request.path.endswith("/g") and not is_copy(request)

    first, killed = tmp_path / "first", tmp_path / "killed"
    options: dict[str, Any] = {"writeback": True, "io_timeout": 1.0}
    async with open_store(faulty, prefix, first, **options) as store:
        await store.write("f", b"f")
        await store.store.drain()
        faulty.fail(is_put_of_g, s3_failure("503 x", "SlowDown"))
        faulty.fail(is_copy, _kill(first / "state", killed / "state", carried_out=is_made))
        await store.write("g", b"g")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.rename, "f", "g")
            while not (killed / "state" / "journal.sqlite").exists():
                await trio.sleep(0.005)
            await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    faulty.heal()
    if not is_made:  # and it cannot be made any more
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}f", Body=b"theirs")
    async with recovering(faulty, prefix, killed) as (store, recovery):
        assert len(await recovery.items()) == 2
        await recovery.resume()
        await store.store.drain()
        assert await recovery.items() == []
        assert list(store.area.folder.iterdir()) == []
    expected = {"g": b"f"} if is_made else {"f": b"theirs", "g": b"g"}
    assert objects(other_user, prefix) == expected


@pytest.mark.expects_errors("was changed by another client")
async def test_what_is_staged_does_not_replace_what_others_put_in_place_of_a_copy(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, _FILES)
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        moves = await _moves(store)
        await hold_uploads(store)
        await store.write("d/a", b"mine")
        ((row, _),) = await store.journal.rows()
        intent = make_intent(
            store.journal, Action.RENAME, "10.1/2", f"{prefix}d/", target=f"{prefix}e/",
            moves=tuple(moves.values()), rows=(row.id,),
        )  # fmt: skip
        await store.journal.record_intent(intent)
    other_user.delete_object(Bucket=BUCKET, Key=f"{prefix}d/a")
    _put(other_user, prefix, {"e/a": b"theirs"})
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        with trio.fail_after(20):
            await store.store.drain()
        (item,) = await recovery.items()
        assert item.state is State.FAILED
    assert objects(other_user, prefix) == {"e/": b"", "e/a": b"theirs", "e/b": b"b"}


async def test_a_rename_of_an_earlier_version_moves_what_is_older(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put(other_user, prefix, _FILES)
    async with open_store(server, prefix, tmp_path) as store:
        journal = store.journal
        intent = make_intent(journal, Action.RENAME, "d", f"{prefix}d/", target=f"{prefix}e/")
        await journal.record_intent(dataclasses.replace(intent, changed_at=time.time() - 60))
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
    assert objects(other_user, prefix) == _FILES
