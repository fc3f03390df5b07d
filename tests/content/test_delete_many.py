"""Many deletions in one request, where the server looks at the ETag of each.

moto does not look: the patched one answers as S3 does.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

import pytest
import trio
from moto.s3.responses import S3Response

from provenafs.content.naming import deferred_deletes as deletions
from provenafs.content.naming import delete_queue
from provenafs.s3.errors import AccessDenied
from tests.support.faultproxy import FaultProxy, Request, answer, is_delete, lose_answer, s3_failure
from tests.support.moto_bucket import BUCKET
from tests.support.store import Store, objects, open_store

_IO_TIMEOUT_S = 2.0
_MANY = 40
_ASKED = 10  # names after which the server has been asked


def is_batch(request: Request) -> bool:
    return request.method == "POST" and request.query == "delete"


def _looking(backend_answer: Callable[..., Any]) -> Callable[..., Any]:
    """A DeleteObjects that deletes only what has the ETag that is named."""

    def deletion(self: Any, bucket_name: str, authenticated: bool = True) -> Any:
        listed = re.findall(r"<Object>.*?</Object>", self.body.decode(), re.DOTALL)
        rest, errors = [], ""
        for one in listed:
            key, etag = (
                unescape(found[1], {"&quot;": '"'})
                for found in (
                    re.search(rf"<{name}>(.*?)</{name}>", one) for name in ("Key", "ETag")
                )
                if found is not None
            )
            there = self.backend.head_object(bucket_name, key)
            if there is not None and there.etag == etag:
                rest.append(one)
                continue
            code = "NoSuchKey" if there is None else "PreconditionFailed"
            errors += f"<Error><Key>{escape(key)}</Key><Code>{code}</Code></Error>"
        if not rest:
            return 200, {}, f"<DeleteResult>{errors}</DeleteResult>"
        self.body = f"<Delete>{''.join(rest)}</Delete>".encode()
        status, headers, body = backend_answer(self, bucket_name, authenticated)
        text = body if isinstance(body, str) else body.decode()
        return status, headers, text.replace("</DeleteResult>", f"{errors}</DeleteResult>")

    return deletion


@pytest.fixture(autouse=True)
def unlinks_in_succession(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, an unlink does not wait for the bucket, but for the first."""
    monkeypatch.setattr(deletions, "_RUN_WITHIN_S", 30.0)
    monkeypatch.setattr(deletions, "_CAREFUL_FOR_S", -1.0)


@pytest.fixture
def looks_at_etags(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = _looking(S3Response._bucket_response_delete_keys)
    monkeypatch.setattr(S3Response, "_bucket_response_delete_keys", patched)


@pytest.fixture
async def store(
    proxy: FaultProxy,
    prefix: str,
    tmp_path: Path,
    other_user: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Store]:
    for number in range(_MANY):
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}d/{number:02}", Body=b"x")
    async with open_store(proxy.address, prefix, tmp_path, io_timeout=_IO_TIMEOUT_S) as store:
        await store.names("d")
        yield store


def files_of(store: Store, other_user: Any) -> dict[str, bytes]:
    """What another client sees, without the directory's marker."""
    found = objects(other_user, store.prefix)
    return {key: data for key, data in found.items() if not key.endswith("/")}


def is_asked(store: Store) -> bool:
    """Whether the server's answer to the question is still to come."""
    queue = store.deferred_deletes._queues[store.volume]
    return queue._server is delete_queue._Server.ASKED


async def remove_first(store: Store, proxy: FaultProxy) -> None:
    """As many as it takes to ask the server, and its answer."""
    for number in range(_ASKED):
        await store.unlink(f"d/{number:02}")
    await store.store.sync()
    with trio.fail_after(10):
        while not proxy.count(is_batch) or is_asked(store):
            await trio.sleep(0.01)


async def remove_rest(store: Store) -> None:
    for number in range(_ASKED, _MANY):
        await store.unlink(f"d/{number:02}")


@pytest.mark.usefixtures("looks_at_etags")
async def test_many_are_deleted_in_one_request(
    store: Store, proxy: FaultProxy, other_user: Any
) -> None:
    await remove_first(store, proxy)
    singles = proxy.count(is_delete)
    await remove_rest(store)
    await store.rmdir("d")
    assert objects(other_user, store.prefix) == {}
    assert await store.journal.intents() == []
    assert proxy.count(is_delete) == singles + 1  # the directory's marker
    assert proxy.count(is_batch) < 6


@pytest.mark.usefixtures("looks_at_etags")
async def test_what_is_noted_before_the_answer_survives(store: Store, proxy: FaultProxy) -> None:
    await remove_first(store, proxy)
    proxy.fail(is_batch, answer("503 Slow Down"))
    proxy.fail(is_delete, answer("503 Slow Down"))
    await remove_rest(store)
    assert len(await store.journal.intents()) == _MANY - _ASKED
    proxy.heal()
    await store.store.drain()
    assert await store.journal.intents() == []


@pytest.mark.usefixtures("looks_at_etags")
async def test_what_somebody_else_has_changed_stays(
    store: Store, proxy: FaultProxy, other_user: Any
) -> None:
    await remove_first(store, proxy)
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/20", Body=b"theirs")
    await remove_rest(store)
    await store.store.drain()
    assert files_of(store, other_user) == {"d/20": b"theirs"}
    assert await store.names("d") == ["20"]
    assert await store.journal.intents() == []
    assert store.failures == []


@pytest.mark.expects_errors("could not be removed")
@pytest.mark.usefixtures("looks_at_etags")
async def test_a_key_that_is_refused_is_told_and_shown_again(
    store: Store, proxy: FaultProxy, other_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remove_first(store, proxy)
    # Sent by the sync only: otherwise the refusal may be raised by the unlinks that come after it.
    monkeypatch.setattr(delete_queue, "_GATHER_S", 60.0)
    key = f"{store.prefix}d/20"
    refused = f"<Error><Key>{key}</Key><Code>AccessDenied</Code></Error>"
    body = f"<DeleteResult>{refused}</DeleteResult>".encode()
    proxy.fail(is_batch, answer("200 OK", body))  # which tells nothing of the others
    proxy.fail(lambda one: is_delete(one) and one.path.endswith("/20"),
               s3_failure("403 Forbidden", "AccessDenied"))  # fmt: skip
    await remove_rest(store)
    with pytest.raises(AccessDenied):
        await store.store.sync(store.volume)
    assert await store.names("d") == ["20"]
    assert [type(error) for error in store.failures] == [AccessDenied]
    assert list(files_of(store, other_user)) == ["d/20"]


@pytest.mark.usefixtures("looks_at_etags")
@pytest.mark.parametrize(
    "row",
    [
        "<Deleted><Key>{0}</Key></Deleted><Error><Key>{0}</Key><Code>InternalError</Code></Error>",
        "<Deleted><Key>{0}</Key></Deleted><Error><Key>{0}</Key><Code>NoSuchKey</Code></Error>",
        "<Error><Key>{0}</Key><Code>NoSuchKey</Code><Code>InternalError</Code></Error>",
        "<Error><Key>{0}</Key><Code>NoSuchBucket</Code></Error>",
        "<Deleted><Key>{0}</Key><Key>{0}</Key></Deleted>",
        "<Deleted>{0}</Deleted>",
    ],
)
async def test_a_key_of_which_an_answer_says_two_things_is_looked_at(
    store: Store, proxy: FaultProxy, other_user: Any, row: str
) -> None:
    await remove_first(store, proxy)
    body = f"<DeleteResult>{row.format(store.prefix + 'd/20')}</DeleteResult>".encode()
    proxy.fail(is_batch, answer("200 OK", body))  # and nothing was deleted
    await remove_rest(store)
    await store.store.drain()
    assert files_of(store, other_user) == {}
    assert store.failures == []


@pytest.mark.usefixtures("looks_at_etags")
@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
async def test_every_code_of_a_changed_object_counts_as_one(
    store: Store, proxy: FaultProxy, code: str
) -> None:
    await remove_first(store, proxy)
    row = f"<Error><Key>{store.prefix}d/20</Key><Code>{code}</Code></Error>"
    proxy.fail(is_batch, answer("200 OK", f"<DeleteResult>{row}</DeleteResult>".encode()))
    await remove_rest(store)
    await store.store.drain()
    assert proxy.count(lambda one: is_delete(one) and one.path.endswith("/20")) == 0
    assert await store.names("d") == ["20"]


@pytest.mark.parametrize(
    "fault",
    [
        s3_failure("400 Bad Request", "InvalidRequest"),  # no Content-MD5
        s3_failure("501 Not Implemented", "NotImplemented"),
        answer("200 OK", b"<html></html>", "text/html"),
        answer("200 OK", b"<DeleteResult><Error/><Deleted/></DeleteResult>"),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
async def test_an_answer_that_is_not_clear_means_one_by_one(
    store: Store,
    proxy: FaultProxy,
    other_user: Any,
    request: pytest.FixtureRequest,
    fault: Any,
    asked: bool,
) -> None:
    if asked:
        request.getfixturevalue("looks_at_etags")
        await remove_first(store, proxy)
        proxy.fail(is_batch, fault)
    else:
        proxy.fail(is_batch, fault)
        await remove_first(store, proxy)
    await remove_rest(store)
    await store.store.drain()
    assert files_of(store, other_user) == {}
    assert store.failures == []


async def test_a_server_that_does_not_look_is_not_asked_for_many(
    store: Store, proxy: FaultProxy, other_user: Any
) -> None:
    await remove_first(store, proxy)
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/20", Body=b"theirs")
    await remove_rest(store)
    await store.store.drain()
    assert proxy.count(is_batch) == 1
    assert files_of(store, other_user) == {"d/20": b"theirs"}


@pytest.mark.usefixtures("looks_at_etags")
async def test_what_is_stored_after_a_lost_answer_stays(
    store: Store, proxy: FaultProxy, other_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remove_first(store, proxy)
    monkeypatch.setattr(delete_queue, "_GATHER_S", 60.0)  # one batch, once somebody waits for it
    proxy.fail(is_batch, lose_answer())
    proxy.fail(lambda one: one.method == "HEAD", s3_failure("503 Slow Down", "SlowDown"))
    await remove_rest(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.store.drain)
        with trio.fail_after(10):
            while files_of(store, other_user):
                await trio.sleep(0.05)
        await trio.sleep(1.1)  # S3 tells the time of an object in seconds
        other_user.put_object(Bucket=BUCKET, Key=store.prefix + "d/20", Body=b"x")  # the same ETag
        proxy.heal()
    assert files_of(store, other_user) == {"d/20": b"x"}
    assert await store.names("d") == ["20"]
