"""What is stored beside the bytes: kept on every path, and read in the forms others write it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenafs.content.journal_schema import State
from provenafs.content.mount_lock import UNOWNED
from provenafs.content.recovery import Recovery
from provenafs.content.volume import Volume
from provenafs.content.writing.file_state import FileState
from provenafs.errors import FSError
from provenafs.s3.bucket import Bucket
from provenafs.s3.errors import AccessDenied, Unavailable
from provenafs.s3.metadata import Metadata, head_of, metadata_of, mode_of, time_of, time_text
from provenafs.s3.writing import ObjectWriter
from tests.support.memory_bucket import MemoryServer
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET
from tests.support.store import MIB, Store, open_store

SIZE = 100
LARGE = 17 * MIB
STANDING = {
    "CacheControl": "max-age=60",
    "ContentDisposition": 'attachment; filename="x"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de",
    "ContentType": "text/x-notes",
    "StorageClass": "STANDARD_IA",
}
EXPIRES = "Wed, 21 Oct 2065 07:28:00 GMT"
TAGS = [{"Key": "a b", "Value": "c+d=e"}, {"Key": "b", "Value": ""}]


@pytest.fixture
async def store(server: MemoryServer, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(server, prefix, tmp_path) as store:
        yield store


def _put_theirs(client: Any, key: str, size: int = SIZE) -> None:
    client.put_object(
        Bucket=BUCKET,
        Key=key,
        Body=bytes(size),
        Metadata={"who": "lab 7", "mode": "33188", "md5chksum": "abc"},
        Expires=EXPIRES,
        Tagging="a%20b=c%2Bd%3De&b=",
        **STANDING,
    )


def _check_kept(client: Any, key: str, *, same_bytes: bool) -> None:
    head = client.head_object(Bucket=BUCKET, Key=key)
    assert {name: head.get(name) for name in STANDING} == STANDING
    assert head["ResponseMetadata"]["HTTPHeaders"]["expires"] == EXPIRES
    assert head["Metadata"]["who"] == "lab 7"
    assert head["Metadata"]["mode"] == "33188"
    assert ("md5chksum" in head["Metadata"]) is same_bytes
    tags = client.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert sorted(tags, key=lambda tag: tag["Key"]) == TAGS


async def _touch(store: Store, path: str) -> str:
    await store.set_mtime(path, 1e9)
    await store.attribute_updates.flush()
    assert any(line.startswith("PUT") for line in store.requests())
    return path


async def _touch_and_rename(store: Store, path: str) -> str:
    await store.set_mtime(path, 1e9)
    await store.rename(path, "sub/moved")
    return "sub/moved"


async def _rename(store: Store, path: str) -> str:
    await store.rename(path, "sub/moved")
    return "sub/moved"


async def _rename_directory(store: Store, path: str) -> str:
    await store.rename("sub", "other")
    return path.replace("sub/", "other/")


async def _write(store: Store, path: str, offset: int, data: bytes) -> str:
    handle = await store.open(path)
    await handle.write(offset, data)
    await handle.flush()
    await handle.release()
    return path


async def _append(store: Store, path: str) -> str:
    return await _write(store, path, SIZE, b"more")


async def _patch(store: Store, path: str) -> str:
    return await _write(store, path, 7, b"x")


async def _truncate(store: Store, path: str) -> str:
    await store.truncate(path, 5)
    return path


async def _rewrite(store: Store, path: str) -> str:
    await store.write(path, b"anew")
    return path


async def _rewrite_large(store: Store, path: str) -> str:
    await store.write(path, bytes(20 * MIB), piece=MIB)
    return path


CHANGES = [_append, _patch, _truncate, _rewrite, _rewrite_large]
COPIES = [_touch, _touch_and_rename, _rename, _rename_directory]


@pytest.mark.parametrize("change", [*CHANGES, *COPIES])
async def test_what_others_store_beside_the_bytes_stays(
    store: Store, other_user: MemoryClient, change: Callable[[Store, str], Awaitable[str]]
) -> None:
    _put_theirs(other_user, store.prefix + "sub/f")
    path = await change(store, "sub/f")
    _check_kept(other_user, store.prefix + path, same_bytes=change in COPIES)


async def test_it_stays_when_parts_are_copied(store: Store, other_user: MemoryClient) -> None:
    key = store.prefix + "f"
    _put_theirs(other_user, key, LARGE)
    await _write(store, "f", LARGE, b"more")
    assert any("partNumber=1" in line for line in store.requests("PUT"))
    _check_kept(other_user, key, same_bytes=False)


async def test_it_stays_when_recovery_stores_the_file(
    server: MemoryServer, prefix: str, tmp_path: Path, other_user: MemoryClient
) -> None:
    _put_theirs(other_user, prefix + "f")
    async with open_store(server, prefix, tmp_path) as store:
        handle = await store.open("f")
        await handle.write(0, b"x")
        await store.files.set_attributes(store.volume, await store.entry("f"), None, 0o750)
        ((row, _),) = await store.journal.rows()
        copy = handle.file._copy
        assert copy is not None
        await copy.staged.leave()
        await store.journal.update(row.id, state=State.CLOSED, size=SIZE, mode=0o750, owner=UNOWNED)
        handle.file._copy, handle.file._state = None, FileState.CLEAN
        await handle.release()

        async def volume_of(dataset: str) -> Volume:
            return store.volume

        await Recovery(store.store, volume_of).send(row.id)
    head = other_user.head_object(Bucket=BUCKET, Key=prefix + "f")
    assert head["Metadata"]["who"] == "lab 7"
    assert head["Metadata"]["mode"] == "0100750"


async def test_a_file_that_takes_the_place_of_another_takes_nothing_over(
    store: Store, other_user: MemoryClient
) -> None:
    _put_theirs(other_user, store.prefix + "f")
    await store.write("sedAbc123", b"new")
    await store.rename("sedAbc123", "f")
    head = other_user.head_object(Bucket=BUCKET, Key=store.prefix + "f")
    assert "who" not in head["Metadata"]
    assert "ContentEncoding" not in head
    await _append(store, "f")


async def test_a_change_by_others_meanwhile_is_a_conflict(
    store: Store, other_user: MemoryClient
) -> None:
    _put_theirs(other_user, store.prefix + "f")
    handle = await store.open("f")
    await handle.write(0, b"x")
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "f", Body=b"theirs")
    with pytest.raises(FSError, match="changed by another client"):
        await handle.flush()
    await handle.release()
    assert other_user.get_object(Bucket=BUCKET, Key=store.prefix + "f")["Body"].read() == b"theirs"


async def test_archived_bytes_are_replaced_by_readable_ones() -> None:
    metadata = Metadata("w", kept={"x-amz-storage-class": "DEEP_ARCHIVE", "expires": "0"})
    assert metadata.for_new_bytes().kept == {"expires": "0"}
    assert "Expires" not in metadata.arguments()


async def test_tags_that_may_not_be_read_are_left_behind(
    store: Store, other_user: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_theirs(other_user, store.prefix + "f")
    asking = Bucket.boto

    async def refusing(self: Bucket, what: str, *arguments: Any, **options: Any) -> Any:
        if "tags" in what:
            raise AccessDenied(f"{what} f: AccessDenied")
        return await asking(self, what, *arguments, **options)

    monkeypatch.setattr(Bucket, "boto", refusing)
    await _append(store, "f")
    head = other_user.head_object(Bucket=BUCKET, Key=store.prefix + "f")
    assert head["Metadata"]["who"] == "lab 7"


def test_what_cannot_be_sent_again_is_left_out() -> None:
    headers = {
        "content-encoding": "aws-chunked,gzip",
        "content-disposition": "fü",
        "content-language": "d\re",
    }
    answer = {
        "ResponseMetadata": {"HTTPHeaders": headers},
        "ContentType": "text/\x1fplain",
        "Metadata": {"Who": "lab", "where": "hü", "why": "a\rb", "MTIME": "1.5"},
    }
    metadata = metadata_of(answer)
    assert metadata.content_type == "binary/octet-stream"
    assert metadata.kept == {"content-encoding": "gzip"}
    assert (metadata.other, metadata.mtime_ns) == ({"who": "lab"}, 1_500000000)


def test_a_date_beyond_all_bounds_tells_nothing_of_the_servers_clock() -> None:
    answer = {
        "ResponseMetadata": {"HTTPHeaders": {"date": f"Mon, 1 Jan 2020 00:00:00 +{'9' * 15}"}},
        "ContentLength": 1,
        "ETag": '"e"',
        "LastModified": datetime(2020, 1, 1, tzinfo=UTC),
    }
    assert head_of(answer, "k").ahead == 0


async def test_a_time_is_not_forgotten_when_a_rename_fails(
    store: Store, other_user: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_theirs(other_user, store.prefix + "f")
    await store.set_mtime("f", 1e9)

    async def failing(*_: Any, **__: Any) -> str:
        raise Unavailable("copying: no answer")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectWriter, "copy", failing)
        with pytest.raises(Unavailable):
            await store.rename("f", "g")
    await store.attribute_updates.flush()
    head = other_user.head_object(Bucket=BUCKET, Key=store.prefix + "f")
    assert head["Metadata"]["mtime"] == "1000000000"


# Times and modes


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1530204180_123456789, "1530204180.123456789"),
        (1530204180_100000000, "1530204180.1"),
        (999999999_999999999, "999999999.999999999"),
        (0, "0"),
        (-1, "-0.000000001"),
        (-1_500000000, "-1.5"),
        (253402300799_999999999, "253402300799.999999999"),
    ],
)
def test_times_are_written_to_the_nanosecond(time_ns: int, text: str) -> None:
    assert time_text(time_ns) == text
    assert time_of(text) == time_ns


@given(st.integers(-(10**21), 10**21))
def test_every_time_is_read_as_it_was_written(time_ns: int) -> None:
    assert time_of(time_text(time_ns)) == time_ns


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nan",
        "snan",
        "inf",
        "1e99",
        "1e1000000",
        "-1e999999999999",
        "yesterday",
        "2020-01-01",
        "1" * 9999,
    ],
)
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert time_of(text) is None


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("33188", 0o644),  # s3fs
        ("33261", 0o755),
        ("0100755", 0o755),  # here
        ("100640", 0o640),  # rclone
        ("644", 0o644),
        ("41471", None),  # a symbolic link of s3fs
        ("16877", None),
        ("040755", None),
        ("-1", None),
        ("7" * 100, None),
        ("rwx", None),
        ("", None),
        (None, None),
        ("9" * 5000, None),
    ],
)
def test_modes_of_s3fs_and_rclone_are_read(text: str | None, mode: int | None) -> None:
    assert mode_of(text) == mode


async def test_a_mode_goes_with_the_store_or_behind(store: Store, other_user: MemoryClient) -> None:
    def stored(name: str) -> str | None:
        head = other_user.head_object(Bucket=BUCKET, Key=store.prefix + name)
        mode: str | None = head["Metadata"].get("mode")
        return mode

    _, handle = await store.changes.create(
        store.volume, store.top, "script", os.O_CREAT | os.O_WRONLY, 0o755
    )
    await handle.write(0, b"#!/bin/sh\n")
    await handle.flush()
    await handle.release()
    assert stored("script") == "0100755"
    await store.write("plain", b"x")
    assert stored("plain") is None
    plain = await store.entry("plain")
    await store.files.set_attributes(store.volume, plain, None, 0o700)
    shown = await store.entry("plain")
    assert (shown.mode, shown.mtime_ns) == (0o700, plain.mtime_ns)
    assert stored("plain") is None
    await store.attribute_updates.flush()
    assert stored("plain") == "0100700"
    assert len(store.requests()) == 3
    await _append(store, "script")
    assert stored("script") == "0100755"
    assert (await store.entry("script")).mode == 0o755


async def test_a_mode_set_on_anothers_file_keeps_its_time(
    store: Store, other_user: MemoryClient
) -> None:
    key = store.prefix + "f"
    other_user.put_object(Bucket=BUCKET, Key=key, Body=b"x", Metadata={"mtime": "12.5"})
    other_user.put_object(Bucket=BUCKET, Key=store.prefix + "g", Body=b"x")
    for name in ("f", "g"):
        entry = await store.entry(name)
        await store.files.set_attributes(store.volume, entry, None, 0o755)
        await store.attribute_updates.flush()
        assert (await store.entry(name)).shown_mtime_ns == entry.shown_mtime_ns
    assert other_user.head_object(Bucket=BUCKET, Key=key)["Metadata"]["mtime"] == "12.5"
