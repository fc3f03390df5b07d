"""Rows of the client's file transfers, and of what its keys permit."""

from __future__ import annotations

import os
import time

from botocore.exceptions import ClientError
from cloudpathlib.exceptions import OverwriteNewerCloudError

from rows.client import (
    AUTH,
    SERVER,
    Sandbox,
    lock,
    raises,
    request_release,
    row,
    scratch_directory,
    tree,
)


async def with_files(sandbox: Sandbox, *more: str) -> str:
    handle = await sandbox.mint()
    await sandbox.put(handle, "a.txt", "nested/b.txt", "nested/deep/c.txt", *more)
    return handle


@row
async def io_download_all(sandbox: Sandbox) -> None:
    handle, files = await with_files(sandbox, "mk/"), sandbox.alice.datastore.io
    with scratch_directory() as folder:
        await files.download_all_files(str(folder / "d"), handle)
        expected = ["a.txt", "metadata.json", "nested/b.txt", "nested/deep/c.txt"]
        assert tree(folder / "d") == expected
        assert (folder / "d" / "nested" / "deep" / "c.txt").read_text() == "nested/deep/c.txt"
        assert (folder / "d" / "mk").is_dir()
        with raises(FileNotFoundError):
            await files.download_all_files(str(folder / "no" / "parent"), handle)


@row
async def io_list_all(sandbox: Sandbox) -> None:
    handle = await with_files(sandbox)
    root = (await sandbox.item(handle)).s3.s3_uri
    found = await sandbox.alice.datastore.io.list_all_files(handle)
    names = sorted(str(path).removeprefix(root).rstrip("/") for path in found)
    files = ["a.txt", "metadata.json", "nested/b.txt", "nested/deep/c.txt"]
    assert names == sorted([*files, "nested", "nested/deep"])


@row
async def io_download_specific(sandbox: Sandbox) -> None:
    handle, files = await with_files(sandbox), sandbox.alice.datastore.io
    for asked, expected in {
        "a.txt": ["a.txt"],
        "nested": ["nested/b.txt", "nested/deep/c.txt"],
        "nested/": ["b.txt", "deep/c.txt"],
        "nested/deep": ["deep/c.txt"],
    }.items():
        with scratch_directory() as folder:
            # Only for a single file does the client make the parents too.
            destination = folder / "x" / "d" if asked == "a.txt" else folder / "d"
            await files.download_specific_file(handle, asked, str(destination))
            assert tree(destination) == expected, asked
    with scratch_directory() as folder, raises(FileNotFoundError):
        await files.download_specific_file(handle, "nope", str(folder))


@row
async def io_upload(sandbox: Sandbox) -> None:
    handle, files = await sandbox.mint(), sandbox.alice.datastore.io
    with scratch_directory() as folder:
        (folder / "sub" / "empty").mkdir(parents=True)
        (folder / "new.txt").write_text("1")
        (folder / "sub" / "s.csv").write_text("1,2")
        await files.upload_all_files(str(folder), handle)
        assert await sandbox.keys(handle) == ["metadata.json", "new.txt", "sub/s.csv"]
        later, earlier = time.time() + 3600, time.time() - 3600
        for name in ("new.txt", "sub/s.csv"):
            os.utime(folder / name, (later, later))
        await files.upload_all_files(str(folder), handle)
        os.utime(folder / "sub" / "s.csv", (earlier, earlier))
        with raises(OverwriteNewerCloudError):
            await files.upload_all_files(str(folder), handle)
    with scratch_directory() as folder:
        (folder / "one.bin").write_bytes(b"x" * 9_000_000)
        await files.upload_all_files(str(folder / "one.bin"), handle)
    assert "one.bin" in await sandbox.keys(handle)


@row
async def io_upload_refused(sandbox: Sandbox) -> None:
    locked, pending = await sandbox.mint(), await sandbox.mint()
    files = sandbox.alice.datastore.io
    await lock(sandbox, locked)
    await request_release(sandbox, pending)
    with scratch_directory() as folder:
        (folder / "new.txt").write_text("1")
        with raises(AUTH):
            await files.upload_all_files(str(folder), locked)
        with raises(SERVER, 403):
            await files.upload_all_files(str(folder), pending)


@row
async def io_policy(sandbox: Sandbox) -> None:
    handle, other = await sandbox.mint(), await sandbox.mint()
    reader, writer = await sandbox.s3(handle, "read"), await sandbox.s3(handle, "write")
    mine, theirs = (await sandbox.item(handle)).s3, (await sandbox.item(other)).s3
    bucket, key = mine.bucket_name, mine.path + "a"
    writer.put_object(Bucket=bucket, Key=key, Body=b"a")
    assert reader.list_objects_v2(Bucket=bucket, Prefix=theirs.path)["KeyCount"] == 1
    writer.copy_object(Bucket=bucket, Key=key + "2", CopySource={"Bucket": bucket, "Key": key})
    upload = writer.create_multipart_upload(Bucket=bucket, Key=key + "3")["UploadId"]
    part = {"Bucket": bucket, "Key": key + "3", "UploadId": upload}
    sent = writer.upload_part(**part, PartNumber=1, Body=b"x")
    parts = [{"ETag": sent["ETag"], "PartNumber": 1}]
    theirs_key = theirs.path + "metadata.json"
    for forbidden in (
        lambda: reader.get_object(Bucket=bucket, Key=theirs_key),
        lambda: reader.put_object(Bucket=bucket, Key=key, Body=b"b"),
        lambda: writer.list_parts(**part),
        lambda: writer.get_bucket_location(Bucket=bucket),
        # The gateway has neither of these at all and says so.
        lambda: writer.get_bucket_versioning(Bucket=bucket),
        lambda: writer.put_object_acl(Bucket=bucket, Key=key, ACL="public-read"),
        lambda: writer.copy_object(
            Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": theirs_key}
        ),
    ):
        try:
            forbidden()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code in ("AccessDenied", "NotImplemented"), error
        else:
            raise AssertionError("a forbidden call was allowed")
    writer.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    upload = writer.create_multipart_upload(Bucket=bucket, Key=key + "4")["UploadId"]
    writer.abort_multipart_upload(Bucket=bucket, Key=key + "4", UploadId=upload)
    try:
        reader.head_object(Bucket=bucket, Key=mine.path + "missing")
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    else:
        raise AssertionError("a missing object was found")
