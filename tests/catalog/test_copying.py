"""Copying all files of a dataset, against a server that honours conditions."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.catalog.copying import DataCopy, Folder
from provenafs.catalog.unfinished import Unfinished, unfinished
from provenafs.errors import FSError
from provenafs.s3.errors import S3Error
from tests.support.faultproxy import FaultProxy, fault_proxy, s3_failure, stall
from tests.support.moto_bucket import BUCKET, RecordingBucket, client, make_bucket, moto
from tests.support.store import objects

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with moto() as address:
        make_bucket(address)
        yield address


@pytest.fixture
def proxy(address: str) -> Iterator[FaultProxy]:
    with fault_proxy(address) as proxy:
        yield proxy


class _Case:
    """Two folders of one bucket, reached `through` a proxy, and another client at work in both."""

    def __init__(
        self, address: str, name: str, through: str | None = None, io_timeout: float = 10.0
    ) -> None:
        self.s3 = client(address)
        self.bucket = RecordingBucket(through or address, io_timeout)
        self.old, self.new = f"{name}-old/", f"{name}-new/"

    def put(self, path: str, body: bytes, prefix: str | None = None, **more: Any) -> None:
        key = (self.old if prefix is None else prefix) + path
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)

    def put_in_parts(self, path: str, *bodies: bytes) -> None:
        place = {"Bucket": BUCKET, "Key": self.old + path}
        upload = self.s3.create_multipart_upload(**place)["UploadId"]
        parts = []
        for number, body in enumerate(bodies, start=1):
            answer = self.s3.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.s3.complete_multipart_upload(
            **place, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def copy(self, uploads: Unfinished | None = None) -> DataCopy:
        old, new = Folder(self.bucket, self.old), Folder(self.bucket, self.new)
        return DataCopy(old, new, uploads or Unfinished(io.BytesIO()))

    def objects(self, prefix: str) -> dict[str, bytes]:
        return objects(self.s3, prefix)

    def head(self, path: str) -> Any:
        return self.s3.head_object(Bucket=BUCKET, Key=self.new + path)

    def unfinished_uploads(self) -> list[str]:
        """Ids of the multipart uploads that were begun in the target and not ended."""
        listed = self.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=self.new)
        return [upload["UploadId"] for upload in listed.get("Uploads", [])]

    def changes(self) -> list[str]:
        return [line for line, _ in self.bucket.sent if line.startswith(("PUT", "POST", "DELETE"))]


def _ignore(size: int) -> None:
    """Nobody watches."""


async def test_everything_is_copied_once(address: str) -> None:
    case = _Case(address, "once")
    case.put("metadata.json", b"{}")
    case.put("metadata.json", b"{new}", case.new)
    case.put("", b"")
    case.put("a.txt", b"abc", ContentType="text/x-notes", Metadata={"mtime": "12.5", "who": "me"})
    case.put("deep/er/b.bin", b"")
    case.put("deep/metadata.json", b"mine")
    case.put("empty/", b"", ContentType="application/x-directory")
    case.put("odd//key/./ with + ä\x01", b"odd")
    case.put_in_parts("parts.bin", b"p" * 5 * MIB, b"q")
    copy, sizes = case.copy(), list[int]()
    total = await copy.look()
    copied = await copy.run(sizes.append)
    assert sum(sizes) == total == copied.size == 5 * MIB + 1 + 10
    assert (copied.files, copied.present, copied.differing) == (5, 0, ())
    expected = case.objects(case.old) | {"metadata.json": b"{new}"}
    del expected[""]
    assert case.objects(case.new) == expected
    head = case.head("a.txt")
    assert head["ContentType"] == "text/x-notes"
    assert (head["Metadata"]["mtime"], head["Metadata"]["who"]) == ("12.5", "me")
    original = case.s3.head_object(Bucket=BUCKET, Key=case.old + "parts.bin")
    shown = float(case.head("parts.bin")["Metadata"]["mtime"])
    assert shown == original["LastModified"].timestamp()
    assert case.head("parts.bin")["ETag"] != original["ETag"]
    assert all("if-none-match" in sent for line, sent in case.bucket.sent if line[:3] == "PUT")

    before = len(case.changes())
    again = case.copy()
    assert await again.look() == 0
    copied = await again.run(_ignore)
    assert (copied.files, copied.size, copied.present, copied.differing) == (0, 0, 5, ())
    assert len(case.changes()) == before


async def test_a_large_file_goes_in_parts(address: str) -> None:
    case = _Case(address, "large")
    body = os.urandom(MIB) * 70
    case.put("large.nc", body, ContentType="application/x-netcdf")
    copy, sizes = case.copy(), list[int]()
    await copy.look()
    await copy.run(sizes.append)
    assert sorted(sizes) == [6 * MIB, *[16 * MIB] * 4]
    assert case.objects(case.new) == {"large.nc": body}
    assert case.head("large.nc")["ContentType"] == "application/x-netcdf"
    again = case.copy()
    await again.look()
    assert (await again.run(_ignore)).present == 1
    assert sum("uploadId" in line for line in case.changes()) == 6


async def test_what_is_there_is_kept(address: str) -> None:
    case = _Case(address, "kept")
    for name in ("same", "size", "text", "new"):
        case.put(name, b"old")
    case.put("same", b"old", case.new)
    case.put("size", b"older", case.new)
    case.put("text", b"ours"[:3], case.new)
    case.put("more", b"ours", case.new)
    copy = case.copy()
    assert await copy.look() == 3
    copied = await copy.run(_ignore)
    assert (copied.files, copied.present, copied.differing) == (1, 1, ("size", "text"))
    expected = {"same": b"old", "size": b"older", "text": b"our", "new": b"old", "more": b"ours"}
    assert case.objects(case.new) == expected


async def test_what_appears_meanwhile_is_kept(address: str) -> None:
    case = _Case(address, "appears")
    case.put("a", b"old")
    copy = case.copy()
    await copy.look()
    case.put("a", b"ours", case.new)
    with pytest.raises(FSError) as failure:
        await copy.run(_ignore)
    assert failure.value.errno == errno.ESTALE
    assert case.objects(case.new) == {"a": b"ours"}


async def test_an_original_that_changes_meanwhile(address: str) -> None:
    case = _Case(address, "changes")
    case.put("a", b"old")
    copy = case.copy()
    await copy.look()
    case.put("a", b"new")
    with pytest.raises(FSError, match="a was changed by another client"):
        await copy.run(_ignore)
    assert case.objects(case.new) == {}


async def test_a_copy_that_is_changed_before_the_end_is_told(address: str) -> None:
    case = _Case(address, "spoilt")
    for number in range(40):
        case.put(f"{number:02}", b"old")
    copy = case.copy()
    await copy.look()
    seen = list[int]()

    def spoil(size: int) -> None:
        seen.append(size)
        if len(seen) == 40:
            case.put("00", b"ours", case.new)

    with pytest.raises(FSError, match=r"1 copied files were changed .* 00"):
        await copy.run(spoil)


async def test_a_passing_failure_is_not_noticed(address: str, proxy: FaultProxy) -> None:
    case = _Case(address, "passing", proxy.address)
    for number in range(20):
        case.put(f"{number:02}", b"x" * number)
    failure = s3_failure("503 Slow Down", "SlowDown")
    proxy.fail(lambda request: request.method == "PUT", failure, times=3)
    proxy.fail(lambda request: request.is_read, failure, times=3)
    copy = case.copy()
    await copy.look()
    assert (await copy.run(_ignore)).files == 20
    assert case.objects(case.new) == case.objects(case.old)


async def test_a_failure_that_stays_leaves_no_upload(address: str, proxy: FaultProxy) -> None:
    case = _Case(address, "stays", proxy.address, io_timeout=1.0)
    case.put("large.bin", b"x" * 65 * MIB)
    third = "partNumber=3"
    proxy.fail(lambda request: third in request.query, s3_failure("503 Slow Down", "SlowDown"))
    copy = case.copy()
    await copy.look()
    with pytest.raises(S3Error):
        await copy.run(_ignore)
    assert case.objects(case.new) == {}
    assert case.unfinished_uploads() == []


async def test_an_interruption_leaves_no_upload(address: str, proxy: FaultProxy) -> None:
    case = _Case(address, "interrupted", proxy.address)
    case.put("large.bin", b"x" * 65 * MIB)
    proxy.fail(lambda request: "partNumber=5" in request.query, stall())
    copy = case.copy()
    await copy.look()
    with trio.move_on_after(60) as scope:
        await copy.run(lambda size: scope.cancel())
    assert scope.cancelled_caught
    assert case.unfinished_uploads() == []
    assert case.objects(case.new) == {}


async def test_what_a_killed_copy_left_is_given_up(address: str, tmp_path: Path) -> None:
    case = _Case(address, "killed")
    case.put("a", b"old")
    key, path = case.new + "large.bin", tmp_path / "copies/killed"
    mine, other = (
        case.s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for _ in range(2)
    )
    path.parent.mkdir()
    with path.open("w+b", buffering=0) as file:
        Unfinished(file).begun(key, mine)
        file.write(b'["cut o')
    with unfinished(path) as uploads:
        with pytest.raises(FSError, match="another process"), unfinished(path):
            pass
        copy = case.copy(uploads)
        await copy.look()
        await copy.run(_ignore)
    assert case.unfinished_uploads() == [other]
    case.s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=other)
    assert not path.exists()
