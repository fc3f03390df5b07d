"""Object changes against a server with S3's real limits and the preconditions it knows."""

from __future__ import annotations

import os
from typing import Any

import pytest

from provenafs import __version__
from provenafs.s3.errors import NoSuchKey, PreconditionFailed
from provenafs.s3.metadata import Metadata, content_type
from provenafs.s3.writing import ObjectWriter
from tests.support.moto_bucket import BUCKET, RecordingBucket

MIB = 1024 * 1024


@pytest.fixture
def bucket(moto_address: str) -> RecordingBucket:
    return RecordingBucket(moto_address)


@pytest.fixture
def writer(bucket: RecordingBucket) -> ObjectWriter:
    return ObjectWriter(bucket)


async def test_a_put_stores_bytes_and_what_is_known_of_them(
    writer: ObjectWriter, moto_user: Any, prefix: str
) -> None:
    metadata = Metadata("w1", 1700000000_250000000, "text/csv", {"origin": "lab"})
    etag = await writer.put(f"{prefix}a", b"hello", None, metadata)
    found = moto_user.get_object(Bucket=BUCKET, Key=f"{prefix}a")
    assert found["Body"].read() == b"hello"
    assert found["ETag"] == etag
    assert found["ContentType"] == "text/csv"
    assert found["Metadata"] == {
        "mtime": "1700000000.25",
        "provenafs-write-id": "w1",
        "origin": "lab",
    }
    head = await writer.head(f"{prefix}a")
    assert (head.size, head.etag, head.metadata) == (5, etag, metadata)


async def test_puts_replace_only_what_they_expect(writer: ObjectWriter, prefix: str) -> None:
    first = await writer.put(f"{prefix}a", b"1", None, Metadata("w1"))
    with pytest.raises(PreconditionFailed):
        await writer.put(f"{prefix}a", b"2", None, Metadata("w2"))
    second = await writer.put(f"{prefix}a", b"2", first, Metadata("w3"))
    with pytest.raises(PreconditionFailed):
        await writer.put(f"{prefix}a", b"3", first, Metadata("w4"))
    with pytest.raises(PreconditionFailed):
        await writer.delete(f"{prefix}a", first)
    await writer.delete(f"{prefix}a", second)
    with pytest.raises(NoSuchKey):
        await writer.head(f"{prefix}a")


async def test_parts_are_sent_and_copied(
    writer: ObjectWriter, bucket: RecordingBucket, moto_user: Any, prefix: str
) -> None:
    base, added = os.urandom(6 * MIB), os.urandom(MIB)
    source, key = f"{prefix}source", f"{prefix}target"
    etag = await writer.put(source, base, None, Metadata("w1"))
    upload = await writer.create_upload(key, Metadata("w2", 5 * 10**9))
    parts = [
        await writer.copy_part(key, upload, 1, source, etag, 0, 5 * MIB),
        await writer.upload_part(key, upload, 2, base[5 * MIB :] + bytes(4 * MIB)),
        await writer.upload_part(key, upload, 3, added),
    ]
    await writer.complete(key, upload, parts, None, Metadata("w2", 5 * 10**9))
    found = moto_user.get_object(Bucket=BUCKET, Key=key)
    assert found["Body"].read() == base + bytes(4 * MIB) + added
    assert found["Metadata"]["mtime"] == "5"
    copies = [headers for line, headers in bucket.sent if "x-amz-copy-source-range" in headers]
    assert [headers["x-amz-copy-source-if-match"] for headers in copies] == [etag]


async def test_an_upload_does_not_replace_what_somebody_else_made(
    writer: ObjectWriter, moto_user: Any, prefix: str
) -> None:
    upload = await writer.create_upload(f"{prefix}a", Metadata("w1"))
    part = await writer.upload_part(f"{prefix}a", upload, 1, b"mine")
    moto_user.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=b"theirs")
    with pytest.raises(PreconditionFailed):
        await writer.complete(f"{prefix}a", upload, [part], None, Metadata("w1"))
    await writer.abort(f"{prefix}a", upload)
    await writer.abort(f"{prefix}a", upload)
    assert moto_user.get_object(Bucket=BUCKET, Key=f"{prefix}a")["Body"].read() == b"theirs"


async def test_copies_carry_conditions_on_both_sides(
    writer: ObjectWriter, bucket: RecordingBucket, moto_user: Any, prefix: str
) -> None:
    etag = await writer.put(f"{prefix}a", b"x", None, Metadata("w1", 7 * 10**9, "text/csv"))
    await writer.copy(f"{prefix}a", etag, f"{prefix}b", None, size=1)
    await writer.copy(
        f"{prefix}a", etag, f"{prefix}b", etag, size=1, metadata=Metadata("w2", 8 * 10**9)
    )
    first, second = [headers for _, headers in bucket.sent if "x-amz-copy-source" in headers]
    assert first["x-amz-copy-source-if-match"] == second["x-amz-copy-source-if-match"] == etag
    assert first["if-none-match"] == "*"
    assert second["if-match"] == etag
    assert moto_user.head_object(Bucket=BUCKET, Key=f"{prefix}b")["Metadata"]["mtime"] == "8"


async def test_checksums_are_sent(
    writer: ObjectWriter, bucket: RecordingBucket, prefix: str
) -> None:
    await writer.put(f"{prefix}a", b"123456789", None, Metadata("w1"))
    assert bucket.sent[-1][1]["x-amz-checksum-crc32"] == "y/Q5Jg=="
    assert "expect" not in bucket.sent[-1][1]


async def test_requests_name_the_product(
    writer: ObjectWriter, bucket: RecordingBucket, prefix: str
) -> None:
    await writer.put(f"{prefix}a", b"x", None, Metadata("w1"))
    assert bucket.sent[-1][1]["user-agent"] == f"provenafs/{__version__}"


def test_media_types_come_from_names() -> None:
    assert content_type("a/b.csv") == "text/csv"
    assert content_type("a/b.csv.gz") == "binary/octet-stream"
    assert content_type("a/b") == "binary/octet-stream"
