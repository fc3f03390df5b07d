"""Writing through a proxy that loses answers, fails and stalls: nothing is lost or overwritten.

The server behind it honours conditions, so that our own success has to be told from a conflict.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from provenafs.content.journal_schema import State
from provenafs.content.mount_lock import UNOWNED
from provenafs.errors import FSError
from provenafs.s3.errors import S3Error
from provenafs.s3.types import Credentials, CredentialScope
from tests.support.faultproxy import Request, is_delete
from tests.support.memory_bucket import Fault, MemoryServer, cut, lose_answer, s3_failure, stall
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, objects, open_store


@pytest.fixture
async def store(faulty: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(faulty, prefix, tmp_path, io_timeout=3.0) as store:
        yield store


def is_put(request: Request) -> bool:
    return request.method == "PUT" and not request.query


def is_part(request: Request) -> bool:
    return request.method == "PUT" and "partNumber" in request.query


def is_completion(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def is_copy(request: Request) -> bool:
    return "x-amz-copy-source" in request.headers


LARGE = bytes(range(256)) * (20 * MIB // 256)


@pytest.mark.parametrize("fault", [lose_answer(), cut(), s3_failure("500 Oh", "InternalError")])
async def test_a_new_file_is_stored_once_though_answers_get_lost(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, fault: Fault
) -> None:
    faulty.fail(is_put, fault, times=1)
    await store.write("new", b"new")
    assert objects(other_user, store.prefix) == {"new": b"new"}
    faulty.fail(is_put, fault, times=1)
    await store.write("new", b"changed")
    assert objects(other_user, store.prefix) == {"new": b"changed"}
    assert [row.state for row, _ in await store.journal.rows()].count(State.FAILED) == 0


@pytest.mark.parametrize("which", [is_part, is_completion])
async def test_a_large_file_is_stored_though_answers_get_lost(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, which: Any
) -> None:
    faulty.fail(which, lose_answer(), times=1)
    await store.write("large", LARGE, piece=MIB)
    assert objects(other_user, store.prefix) == {"large": LARGE}


async def test_a_lost_answer_does_not_hide_somebody_elses_change(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await store.write("a", b"base")
    handle = await store.open("a")
    await handle.write(0, b"mine")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "a", Body=b"theirs")
    faulty.fail(is_put, cut(), times=1)
    with pytest.raises(FSError) as caught:
        await handle.flush()
    assert caught.value.errno == errno.ESTALE
    await handle.release()
    assert objects(other_user, store.prefix) == {"a": b"theirs"}


async def test_names_change_though_answers_get_lost(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    await store.write("a", b"a")
    await store.write("b", b"b")
    faulty.fail(is_copy, lose_answer(), times=1)
    faulty.fail(is_delete, lose_answer(), times=2)
    await store.rename("a", "c")
    await store.unlink("b")
    await store.store.drain()
    assert objects(other_user, store.prefix) == {"c": b"a"}


@pytest.mark.parametrize("fault", [stall(), s3_failure("503 Slow Down", "SlowDown"), cut()])
async def test_what_cannot_be_stored_is_an_error_in_time_and_kept(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, fault: Fault
) -> None:
    faulty.fail(is_put, fault)
    handle = await store.open("a", 0o101)
    await handle.write(0, b"kept")
    with trio.fail_after(30), pytest.raises((FSError, S3Error)):
        await handle.flush()
    faulty.heal()
    # The program may try again, or leave it to recovery.
    await handle.sync()
    assert objects(other_user, store.prefix) == {"a": b"kept"}
    await handle.release()


async def test_what_was_acknowledged_is_sent_once_the_server_is_back(
    faulty: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(faulty, prefix, tmp_path, writeback=True, io_timeout=2.0) as store:
        faulty.fail(lambda request: request.method in ("PUT", "POST"), stall())
        for number in range(20):
            await store.write(f"{number}", b"x")
        await trio.sleep(3)
        assert objects(other_user, prefix) == {}
        faulty.heal()
        with trio.fail_after(60):
            await store.store.drain()
        assert store.failures == []
    assert objects(other_user, prefix) == {f"{number}": b"x" for number in range(20)}


async def test_what_went_to_recovery_is_not_stored_by_those_who_waited(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    faulty.fail(is_put, s3_failure("403 Forbidden", "AccessDenied"))
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    await handle.write(0, b"mine")
    with pytest.raises(S3Error):
        await handle.flush()
    faulty.heal()
    async with trio.open_nursery() as nursery, handle.file.name_lock:
        nursery.start_soon(handle.release)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(handle.file.store_now)
        await trio.testing.wait_all_tasks_blocked()
    assert objects(other_user, store.prefix) == {}
    assert [row.state for row, _ in await store.journal.rows()] == [State.FAILED]


@pytest.mark.parametrize("later", [b"", b"changed"])
async def test_an_upload_that_was_completed_unheard_is_ours(
    store: Store, faulty: MemoryServer, other_user: MemoryClient, later: bytes
) -> None:
    assert await store.names() == []
    faulty.fail(is_completion, lose_answer())
    faulty.fail(lambda request: request.method == "HEAD", cut())
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    for offset in range(0, len(LARGE), MIB):
        await handle.write(offset, LARGE[offset : offset + MIB])
    with trio.fail_after(30), pytest.raises((FSError, S3Error)):
        await handle.sync()
    faulty.heal()
    assert objects(other_user, store.prefix) == {"a": LARGE}
    if later:
        await handle.write(0, later)
        # The answer of S3 for an upload that is complete; the server here fails with 500.
        faulty.fail(is_part, s3_failure("404 Not Found", "NoSuchUpload"), times=1)
    else:
        faulty.fail(is_part, cut())
    await handle.sync()
    await handle.release()
    assert objects(other_user, store.prefix) == {"a": later + LARGE[len(later) :]}
    assert await store.journal.rows() == []


async def test_a_directory_whose_rename_fails_is_where_it_was(
    store: Store, faulty: MemoryServer, other_user: MemoryClient
) -> None:
    for number in range(20):
        await store.write(f"d{number}", b"")
        key = f"{store.prefix}old/{number}"
        other_user.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    store.index.expire(store.top.ino)
    before = objects(other_user, store.prefix)
    faulty.fail(
        lambda request: is_copy(request) and request.path.endswith("/7"), s3_failure("500 x", "x")
    )
    with trio.fail_after(30), pytest.raises(S3Error):
        await store.rename("old", "new")
    assert objects(other_user, store.prefix) == before
    faulty.fail(is_delete, s3_failure("500 x", "x"))
    with trio.fail_after(60), pytest.raises(S3Error):
        await store.rename("old", "new")
    assert await store.journal.intents() == []
    assert before.items() <= objects(other_user, store.prefix).items()


async def test_refused_credentials_end_a_file_and_not_the_mount(
    store: Store, other_user: MemoryClient
) -> None:
    refusal = FSError(errno.EACCES, "the dataset is locked")
    give = store.bucket._caller._source

    async def source(access: CredentialScope, rejected: Credentials | None) -> Credentials:
        if access is CredentialScope.WRITE:
            raise refusal
        return await give(access, rejected)

    store.bucket._caller._source = source
    handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
    for offset in range(0, len(LARGE), MIB):
        await handle.write(offset, LARGE[offset : offset + MIB])
    with pytest.raises(FSError) as caught:
        await handle.flush()
    assert caught.value.errno == errno.EACCES
    await handle.release()
    ((row, _),) = await store.journal.rows()
    assert (row.state, row.owner) == (State.FAILED, UNOWNED)
    assert await store.names() == []
