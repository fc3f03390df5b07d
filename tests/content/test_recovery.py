"""After a crash: what was acknowledged is stored, nothing else is by itself, and all is kept."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.content.journal_schema import Action, State
from provenafs.errors import FSError
from provenafs.s3.errors import S3Error
from tests.content.crashing_writer import content_of
from tests.support.faultproxy import Request
from tests.support.memory_bucket import MemoryServer, s3_failure
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, hold_uploads, make_intent, objects, open_store, recovering

_WRITER = Path(__file__).with_name("crashing_writer.py")


async def test_writeback_acknowledges_before_it_stores(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        let_go = await hold_uploads(store)
        for number in range(20):
            await store.write(f"{number}", f"{number}".encode())
        assert objects(other_user, prefix) == {}
        assert await store.read("19") == b"19"
        assert len(store.store.transfers()) == 20
        let_go()
        await store.write("0", b"again")
        with trio.fail_after(20):
            await store.store.drain()
        assert store.store.transfers() == []
    expected = {f"{number}": f"{number}".encode() for number in range(20)}
    assert objects(other_user, prefix) == {**expected, "0": b"again"}


async def test_fsync_waits_for_the_bucket_also_with_writeback(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
        await handle.write(0, b"x")
        await handle.flush()
        await handle.sync()
        assert objects(other_user, prefix) == {"a": b"x"}
        await handle.release()


@pytest.mark.parametrize("writeback", [False, True])
async def test_a_killed_writer_loses_nothing_it_was_told_is_safe(
    moto_address: str, prefix: str, tmp_path: Path, moto_user: Any, writeback: bool
) -> None:
    acknowledged, begun = await trio.to_thread.run_sync(
        _run_and_kill, moto_address, prefix, tmp_path, writeback
    )
    assert acknowledged
    before = objects(moto_user, prefix)
    async with recovering(moto_address, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        with trio.fail_after(60):
            await store.store.drain()
        items = await recovery.items()
    stored = objects(moto_user, prefix)
    for name, content in acknowledged.items():
        assert stored[name] == content
        if not writeback:
            assert before[name] == content
    # One close may have been under way: it was stored or it was not, but never half.
    for name in stored.keys() - acknowledged.keys():
        assert stored[name] == begun[name]
    assert all(item.state is State.OPEN and not item.in_use for item in items)
    staged = {path.stem for path in (tmp_path / "state" / "staging").iterdir()}
    assert staged == {item.id for item in items}


async def test_names_known_from_before_a_kill_are_looked_at_again(
    moto_address: str, prefix: str, tmp_path: Path, moto_user: Any
) -> None:
    await trio.to_thread.run_sync(_run_and_kill, moto_address, prefix, tmp_path, False)
    async with open_store(moto_address, prefix, tmp_path) as store:
        assert await store.names() == sorted(objects(moto_user, prefix))
        # As a removal whose answer came after the kill.
        moto_user.delete_object(Bucket=BUCKET, Key=prefix + "0")
        assert "0" in await store.names()
        lock = tmp_path / "cache" / "index-0.lock"
        in_use = lock.read_bytes()
    lock.write_bytes(in_use)
    async with open_store(moto_address, prefix, tmp_path) as store:
        assert "0" not in await store.names()


async def test_what_is_sent_behind_is_shown(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
        await handle.write(0, b"x")
        uploads = store.bucket.service.uploads
        for _ in range(int(uploads.total_tokens)):
            await uploads.acquire_on_behalf_of(object())
        await handle.flush()  # and the end comes before it is sent
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        assert await store.names() == []
        await recovery.resume()
        with trio.fail_after(20):
            await store.store.drain()
        assert await store.read("a") == b"x"


@pytest.mark.parametrize("replace", [False, True])
async def test_what_was_removed_is_not_owed(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient, replace: bool
) -> None:
    faulty = MemoryServer(server.client)
    options: dict[str, Any] = {"writeback": True, "io_timeout": 1.0}
    async with open_store(faulty, prefix, tmp_path, **options) as store:
        faulty.fail(lambda request: request.method == "PUT", s3_failure("503 x", "SlowDown"))
        await store.write("a", b"x")
        await store.write("b", b"y")
        with trio.fail_after(30):
            await (store.rename("a", "b") if replace else store.unlink("a"))
            faulty.heal()
            await store.store.drain()
        assert store.store.transfers() == []
        await store.journal.flush()
        assert [row for row, _ in await store.journal.rows()] == []
    assert objects(other_user, prefix) == {"b": b"x" if replace else b"y"}


async def test_an_incomplete_file_is_listed_exported_sent_and_discarded(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    other_user.put_object(Bucket=BUCKET, Key=prefix + "changed", Body=b"0123456789")
    async with open_store(server, prefix, tmp_path) as store:
        for name in ("new", "changed", "unwanted"):
            handle = await store.open(name, os.O_CREAT | os.O_WRONLY)
            await handle.write(2, b"xy")
    assert set(objects(other_user, prefix)) == {"changed"}
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
        items = {item.key.removeprefix(prefix): item for item in await recovery.items()}
        assert {item.state for item in items.values()} == {State.OPEN}
        assert not any(item.complete for item in items.values())
        await recovery.export(items["changed"].id, tmp_path / "exported")
        assert (tmp_path / "exported").read_bytes() == b"01xy456789"
        with pytest.raises(FSError) as caught:
            await recovery.export(items["changed"].id, tmp_path / "exported")
        assert caught.value.errno == errno.EEXIST
        await recovery.send(items["changed"].id)
        await recovery.send(items["new"].id, prefix + "other")
        await recovery.discard(items["unwanted"].id)
        assert await recovery.items() == []
    assert objects(other_user, prefix) == {"changed": b"01xy456789", "other": b"\0\0xy"}
    assert list((tmp_path / "state" / "staging").iterdir()) == []


async def test_what_a_failed_write_has_left_behind_is_not_stored(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        await hold_uploads(store)
        await store.write("promised", b"0123")
        (staged,) = (tmp_path / "state" / "staging").glob("*.data")
        with staged.open("ab") as file:
            file.write(b"refused")
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        with trio.fail_after(20):
            await store.store.drain()
    assert objects(other_user, prefix) == {"promised": b"0123"}


@pytest.mark.expects_errors("was changed by another client")
async def test_a_promise_is_not_kept_over_somebody_elses_object(
    moto_address: str, prefix: str, tmp_path: Path, moto_user: Any
) -> None:
    await trio.to_thread.run_sync(_run_and_kill, moto_address, prefix, tmp_path, True)
    left = objects(moto_user, prefix)
    for number in range(200):
        if f"{number}" not in left:
            moto_user.put_object(Bucket=BUCKET, Key=f"{prefix}{number}", Body=b"theirs")
    async with recovering(moto_address, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        with trio.fail_after(60):
            await store.store.drain()
        items = await recovery.items()
    failed = [item for item in items if item.state is State.FAILED]
    assert failed
    stored = objects(moto_user, prefix)
    assert all(stored[item.key.removeprefix(prefix)] == b"theirs" for item in failed)


async def test_changes_of_names_are_carried_to_their_end(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    for number in range(5):
        other_user.put_object(Bucket=BUCKET, Key=f"{prefix}old/{number}", Body=b"x")
    etag = other_user.put_object(Bucket=BUCKET, Key=f"{prefix}gone", Body=b"x")["ETag"]
    # Two objects were copied, one of them deleted, before the crash.
    for number in range(2):
        source = {"Bucket": BUCKET, "Key": f"{prefix}old/{number}"}
        other_user.copy_object(Bucket=BUCKET, Key=f"{prefix}new/{number}", CopySource=source)
    other_user.delete_object(Bucket=BUCKET, Key=f"{prefix}old/0")
    async with open_store(server, prefix, tmp_path) as store:
        journal = store.journal
        rename = make_intent(journal, Action.RENAME, "d", f"{prefix}old/", target=f"{prefix}new/")
        await journal.record_intent(rename)
        await journal.record_intent(
            make_intent(journal, Action.DELETE, "d", f"{prefix}gone", etag=etag)
        )
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        await store.store.drain()
        assert await store.journal.intents() == []
    assert objects(other_user, prefix) == {f"new/{number}": b"x" for number in range(5)}


async def test_bytes_that_only_an_unfinished_upload_has_are_not_taken_for_zeros(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    data = os.urandom(40 * MIB)
    for name in ("written", "closed"):
        folder = tmp_path / name
        options: dict[str, Any] = {"writeback": True, "staging_size": 24 * MIB}
        async with open_store(server, f"{prefix}{name}/", folder, **options) as store:
            handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
            for offset in range(0, len(data), MIB):
                await handle.write(offset, data[offset : offset + MIB])
            assert handle.file._copy is not None
            assert handle.file._copy.staged.punched
            if name == "closed":
                uploads = store.bucket.service.uploads
                for _ in range(int(uploads.available_tokens)):
                    uploads.acquire_on_behalf_of_nowait(object())
                await handle.flush()  # and the end comes before it is sent
    async with recovering(server, f"{prefix}closed/", tmp_path / "closed") as found:
        store, recovery = found
        await recovery.resume()
        with trio.fail_after(60):
            await store.store.drain()
    assert objects(other_user, f"{prefix}closed/") == {"a": data}
    async with recovering(server, f"{prefix}written/", tmp_path / "written") as found:
        _, recovery = found
        await recovery.resume()
        (item,) = await recovery.items()
        for refused in (
            recovery.export(item.id, tmp_path / "exported"),
            recovery.send(item.id, f"{prefix}written/other"),
        ):
            with pytest.raises(FSError) as caught:
                await refused
            assert caught.value.errno == errno.EIO
        assert objects(other_user, f"{prefix}written/") == {}
        await recovery.send(item.id)
        assert await recovery.items() == []
    assert objects(other_user, f"{prefix}written/") == {"a": data}


async def test_what_was_written_over_sent_parts_is_recovered(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    def is_completion(request: Request) -> bool:
        return request.method == "POST" and "uploadId" in request.query

    data = bytearray(os.urandom(20 * MIB))
    faulty = MemoryServer(server.client)
    async with open_store(faulty, prefix, tmp_path, io_timeout=2.0) as store:
        faulty.fail(is_completion, s3_failure("500 Oh", "InternalError"))
        handle = await store.open("a", os.O_CREAT | os.O_WRONLY)
        for offset in range(0, len(data), MIB):
            await handle.write(offset, bytes(data[offset : offset + MIB]))
        with pytest.raises(S3Error):
            await handle.sync()
        data[:5] = b"later"
        await handle.write(0, b"later")  # and the end comes before it is stored
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
        (item,) = await recovery.items()
        await recovery.send(item.id)
    assert objects(other_user, prefix) == {"a": bytes(data)}
    assert "Uploads" not in other_user.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)


async def test_a_rename_that_is_resumed_removes_no_original_without_its_copy(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    for name, body in (
        ("old/a", b"ours"),
        ("old/b", b"both"),
        ("new/a", b"else"),
        ("new/b", b"both"),
    ):
        other_user.put_object(Bucket=BUCKET, Key=prefix + name, Body=body)
    async with open_store(server, prefix, tmp_path) as store:
        journal = store.journal
        rename = make_intent(journal, Action.RENAME, "d", f"{prefix}old/", target=f"{prefix}new/")
        await journal.record_intent(rename)
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        assert await store.journal.intents() == []
    assert objects(other_user, prefix) == {"old/a": b"ours", "new/a": b"else", "new/b": b"both"}


@pytest.mark.parametrize("by", ["unlink", "rename"])
async def test_what_was_removed_or_replaced_is_not_in_recovery(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient, by: str
) -> None:
    async with open_store(server, prefix, tmp_path) as store:
        gone = await store.open("gone", os.O_CREAT | os.O_RDWR)
        await gone.write(0, b"x")
        if by == "unlink":
            await store.unlink("gone")
        else:
            await store.write("other", b"y")
            await store.rename("other", "gone")
        assert await gone.read(0, 9) == b"x"
        await gone.write(1, b"y")
        assert await gone.read(0, 9) == b"xy"
        assert list((tmp_path / "state" / "staging").iterdir()) == []
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
        assert await recovery.items() == []


async def test_staged_bytes_without_a_row_are_swept(
    server: MemoryServer, prefix: str, tmp_path: Path
) -> None:
    async with open_store(server, prefix, tmp_path) as store:
        handle = await store.open("kept", os.O_CREAT | os.O_RDWR)
        await handle.write(0, b"x")
        for suffix in ("data", "ranges"):
            (store.area.folder / f"gone.{suffix}").write_bytes(b"x")
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        (item,) = await recovery.items()
        assert [path.stem for path in store.area.folder.iterdir()] == [item.id]


async def test_what_only_a_lost_journal_could_tell_of_is_kept(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        await hold_uploads(store)
        await store.write("f", b"precious")
    state = tmp_path / "state"
    (state / "journal.sqlite").rename(state / "moved-away")
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        assert await recovery.items() == []
        assert list(store.area.folder.iterdir()) == []
    (kept,) = state.glob("staging-*/*.data")
    assert kept.read_bytes() == b"precious"


@pytest.mark.expects_errors("are left on this machine")
@pytest.mark.parametrize("left", [None, b"0123"])
async def test_what_is_not_whole_any_more_is_not_stored(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient, left: bytes | None
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        await hold_uploads(store)
        await store.write("promised", b"0123456789")
    (staged,) = (tmp_path / "state" / "staging").glob("*.data")
    staged.unlink() if left is None else staged.write_bytes(left)
    for _ in range(2):
        async with recovering(server, prefix, tmp_path) as (store, recovery):
            await recovery.resume()
            await store.store.drain()
            (item,) = await recovery.items()
            assert (item.state, item.in_use) == (State.FAILED, False)
            assert f"only {len(left or b'')} are left" in item.reason
            assert objects(other_user, prefix) == {}
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.discard(item.id)
        assert await recovery.items() == []


async def test_what_was_stored_is_forgotten_though_its_bytes_are_gone(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        let_go = await hold_uploads(store)
        await store.write("f", b"x")
        shutil.copytree(tmp_path / "state", tmp_path / "killed" / "state")
        let_go()
        await store.store.drain()
    (staged,) = (tmp_path / "killed" / "state" / "staging").glob("*.data")
    staged.unlink()
    async with recovering(server, prefix, tmp_path / "killed") as (_, recovery):
        await recovery.resume()
        assert await recovery.items() == []
    assert objects(other_user, prefix) == {"f": b"x"}


@pytest.mark.expects_errors("stays in recovery: .*access denied")
async def test_what_is_refused_can_be_had_and_is_sent_by_a_later_mount(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    async with open_store(server, prefix, tmp_path, writeback=True) as store:
        await hold_uploads(store)
        await store.write("f", b"x")
    faulty = MemoryServer(server.client)
    faulty.fail(lambda request: True, s3_failure("403 Forbidden", "AccessDenied"))
    async with recovering(faulty, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
        (item,) = await recovery.items()
        assert (item.state, item.in_use) == (State.CLOSED, False)
        assert "access denied" in item.reason
        await recovery.export(item.id, tmp_path / "exported")
    assert (tmp_path / "exported").read_bytes() == b"x"
    async with recovering(server, prefix, tmp_path) as (store, recovery):
        await recovery.resume()
        await store.store.drain()
        assert await recovery.items() == []
    assert objects(other_user, prefix) == {"f": b"x"}


async def test_an_export_that_fails_leaves_no_part_of_the_file(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    other_user.put_object(Bucket=BUCKET, Key=prefix + "f", Body=b"0123456789" * MIB)
    async with open_store(server, prefix, tmp_path) as store:
        handle = await store.open("f", os.O_RDWR)
        await handle.write(0, bytes(9 * MIB))
    other_user.put_object(Bucket=BUCKET, Key=prefix + "f", Body=b"theirs")
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
        (item,) = await recovery.items()
        with pytest.raises(FSError):
            await recovery.export(item.id, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


async def test_an_id_that_begins_like_others_names_none(
    server: MemoryServer, prefix: str, tmp_path: Path
) -> None:
    async with open_store(server, prefix, tmp_path) as store:
        for name in ("a", "b"):
            handle = await store.open(name, os.O_CREAT | os.O_WRONLY)
            await handle.write(0, b"x")
    async with recovering(server, prefix, tmp_path) as (_, recovery):
        await recovery.resume()
        for work in (recovery.discard(""), recovery.send(""), recovery.export("", tmp_path / "x")):
            with pytest.raises(FSError, match="more than one") as caught:
                await work
            assert caught.value.errno == errno.EINVAL
        assert len(await recovery.items()) == 2


def _run_and_kill(
    address: str, prefix: str, folder: Path, writeback: bool
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Let a process write files, kill it, and tell what its closes had acknowledged."""
    command = [
        sys.executable, str(_WRITER), address, prefix, str(folder), str(int(writeback))
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "closed 12\n":
                process.kill()
    time.sleep(1)  # the server may still be carrying out the last request
    closed = [line.split()[1] for line in lines if line.startswith("closed")]
    opened = [line.split()[1] for line in lines if line.startswith("opened")]
    return (
        {name: content_of(int(name)) for name in closed},
        {name: content_of(int(name)) for name in opened},
    )
