"""The bucket in memory has the rules of a server with conditions: the same steps on both.

The other one is moto, with the conditions that AWS documents added by the sandbox's front.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from provenafs.sandbox.gateway import BUCKET
from tests.support.fronts import client_with_bucket, front_over
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import moto
from tests.support.s3_steps import (
    CHANGES,
    WRITES,
    WRONG,
    assert_if_match_holds,
    body_of,
    changed_by_delete,
    delete_many,
    outcome,
    put,
)

MIB = 1024**2
_numbers = itertools.count()


@pytest.fixture(scope="module", params=["memory", "server"])
def s3(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryClient(BUCKET)
        return
    with moto() as address, front_over(address) as front:
        yield client_with_bucket(front)


@pytest.fixture
def key() -> str:
    return f"rules/{next(_numbers)}"


def code_of(call: Any, **arguments: Any) -> str:
    """The code of what a request is refused with."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.parametrize("change", CHANGES)
def test_if_match(s3: Any, key: str, change: Any) -> None:
    assert_if_match_holds(s3, key, change)


@pytest.mark.parametrize("change", WRITES)
def test_if_none_match(s3: Any, key: str, change: Any) -> None:
    assert change(s3, key, IfNoneMatch="*") == 200
    put(s3, key)
    assert change(s3, key, IfNoneMatch="*") == 412
    assert change(s3, key, IfNoneMatch=WRONG) == 501
    assert body_of(s3, key) == b"old"


def test_copies(s3: Any, key: str) -> None:
    source, target = {"Bucket": BUCKET, "Key": key}, f"{key}.copy"
    etag = str(
        s3.put_object(
            Bucket=BUCKET, Key=key, Body=b"new", Metadata={"a": "1"}, ContentType="text/csv"
        )["ETag"]
    )
    put(s3, target)
    for conditions in (
        {"CopySourceIfMatch": WRONG},
        {"CopySourceIfMatch": etag, "IfNoneMatch": "*"},
        {"CopySourceIfMatch": etag, "IfMatch": etag},
    ):
        assert outcome(s3.copy_object, Key=target, CopySource=source, **conditions) == 412
    assert body_of(s3, target) == b"old"
    missing = {"Bucket": BUCKET, "Key": f"{key}.none"}
    assert outcome(s3.copy_object, Key=target, CopySource=missing) == 404
    copied = s3.copy_object(Bucket=BUCKET, Key=target, CopySource=source, CopySourceIfMatch=etag)
    assert copied["CopyObjectResult"]["ETag"] == etag
    head = s3.head_object(Bucket=BUCKET, Key=target)
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/csv")
    s3.copy_object(
        Bucket=BUCKET, Key=target, CopySource=source, MetadataDirective="REPLACE",
        Metadata={"b": "2"}, ContentType="text/plain",
    )  # fmt: skip
    head = s3.head_object(Bucket=BUCKET, Key=target)
    assert (head["Metadata"], head["ContentType"]) == ({"b": "2"}, "text/plain")
    assert code_of(s3.copy_object, Key=key, CopySource=source) == "InvalidRequest"


def test_reads(s3: Any, key: str) -> None:
    etag = put(s3, key, b"0123456789")
    where = {"Bucket": BUCKET, "Key": key}
    found = s3.get_object(**where, Range="bytes=2-4", IfMatch=etag)
    assert (found["Body"].read(), found["ContentRange"]) == (b"234", "bytes 2-4/10")
    assert s3.get_object(**where, Range="bytes=8-20")["Body"].read() == b"89"
    assert outcome(s3.get_object, Key=key, Range="bytes=10-20") == 416
    assert outcome(s3.get_object, Key=key, Range="bytes=10-20", IfMatch=WRONG) == 412
    assert outcome(s3.get_object, Key=f"{key}.none", IfMatch=WRONG) == 404
    assert outcome(s3.head_object, Key=key, IfMatch=WRONG) == 412
    assert outcome(s3.head_object, Key=f"{key}.none") == 404


def test_what_an_object_carries(s3: Any, key: str) -> None:
    carried = {"CacheControl": "no-cache", "ContentLanguage": "de", "ContentType": "text/csv"}
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"x", Tagging="a=1&b=2", **carried)
    head = s3.head_object(Bucket=BUCKET, Key=key)
    assert {name: head[name] for name in carried} == carried
    assert head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-tagging-count") == "2"
    tags = s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    assert head["LastModified"].microsecond == 0


def test_listings(s3: Any) -> None:
    names = ("a/1", "a/2", "a b", "a.x", "b", "c/d/e", "ä", "z/")
    for name in names:
        put(s3, f"listed/{name}")

    def page(**given: Any) -> tuple[list[str], list[str], str]:
        found = s3.list_objects_v2(Bucket=BUCKET, Prefix="listed/", **given)
        keys = [row["Key"].removeprefix("listed/") for row in found.get("Contents", ())]
        common = [row["Prefix"].removeprefix("listed/") for row in found.get("CommonPrefixes", ())]
        return keys, common, found.get("NextContinuationToken", "")

    assert page() == (sorted(names, key=str.encode), [], "")
    assert page(Delimiter="/") == (["a b", "a.x", "b", "ä"], ["a/", "c/", "z/"], "")
    assert page(StartAfter="listed/b")[0] == ["c/d/e", "z/", "ä"]
    seen, token = [], ""
    for _ in range(10):
        keys, common, token = page(
            Delimiter="/", MaxKeys=2, **({"ContinuationToken": token} if token else {})
        )
        assert len(keys) + len(common) <= 2
        seen += [*keys, *common]
        if not token:
            break
    assert sorted(seen) == sorted(["a b", "a.x", "b", "ä", "a/", "c/", "z/"])
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="none/")["KeyCount"] == 0


def test_many_are_deleted_each_by_its_condition(s3: Any, key: str) -> None:
    seen, changed, gone = (f"{key}/{name}" for name in ("seen", "changed", "gone"))
    etag = put(s3, seen)
    put(s3, changed)
    wanted = [
        {"Key": seen, "ETag": etag},
        {"Key": changed, "ETag": WRONG},
        {"Key": gone, "ETag": WRONG},
    ]
    assert delete_many(s3, wanted[1:2]) == {changed: "PreconditionFailed"}
    assert delete_many(s3, wanted[2:]) == {gone: "NoSuchKey"}
    assert delete_many(s3, wanted[:1]) == {seen: "deleted"}
    assert [body_of(s3, name) for name in (seen, changed)] == [None, b"old"]


def test_a_client_can_go_on_after_many_are_deleted(s3: Any, key: str) -> None:
    for _ in range(20):  # moto closes every connection, which the client's must survive
        assert delete_many(s3, [{"Key": key, "ETag": put(s3, key)}]) == {key: "deleted"}
        assert body_of(s3, key) is None


def _begin(s3: Any, key: str, *bodies: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    upload = {"Key": key, "UploadId": _upload_id(s3, key)}
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(Bucket=BUCKET, **upload, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(bodies, start=1)
    ]
    return upload, parts


def _upload_id(s3: Any, key: str) -> str:
    return str(s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"])


def test_what_parts_make(s3: Any, key: str) -> None:
    bodies = [bytes(5 * MIB), b"end"]
    upload, parts = _begin(s3, key, *bodies)
    assert body_of(s3, key) is None
    etag = put(s3, key)
    complete = s3.complete_multipart_upload
    assert outcome(complete, **upload, MultipartUpload={"Parts": parts}, IfMatch=WRONG) == 412
    made = complete(Bucket=BUCKET, **upload, MultipartUpload={"Parts": parts}, IfMatch=etag)
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    assert made["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert body_of(s3, key) == b"".join(bodies)
    source = {"Bucket": BUCKET, "Key": key}
    upload = {"Key": f"{key}.copy", "UploadId": _upload_id(s3, f"{key}.copy")}
    copy = {**upload, "PartNumber": 1, "CopySource": source}
    assert outcome(s3.upload_part_copy, **copy, CopySourceIfMatch=WRONG) == 412
    copied = s3.upload_part_copy(Bucket=BUCKET, **copy, CopySourceRange=f"bytes=1-{5 * MIB}")
    parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    complete(Bucket=BUCKET, **upload, MultipartUpload={"Parts": parts})
    assert body_of(s3, f"{key}.copy") == bytes(5 * MIB - 1) + b"e"


def test_what_parts_do_not_make(s3: Any, key: str) -> None:
    upload, parts = _begin(s3, key, bytes(5 * MIB), b"end")
    for listed, code in (
        ([parts[0], {"PartNumber": 2, "ETag": WRONG}], "InvalidPart"),
        ([parts[0], {"PartNumber": 3, "ETag": parts[1]["ETag"]}], "InvalidPart"),
    ):
        found = code_of(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": listed})
        assert found == code
    small, pieces = _begin(s3, key, b"small", b"end")
    found = code_of(s3.complete_multipart_upload, **small, MultipartUpload={"Parts": pieces})
    assert found == "EntityTooSmall"
    assert body_of(s3, key) is None
    listed = s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key)["Uploads"]
    assert {row["UploadId"] for row in listed} == {upload["UploadId"], small["UploadId"]}
    for begun in (upload, small):
        s3.abort_multipart_upload(Bucket=BUCKET, **begun)
        assert code_of(s3.abort_multipart_upload, **begun) == "NoSuchUpload"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key)


def test_rules_of_aws_that_moto_does_not_know(key: str) -> None:
    s3 = MemoryClient(BUCKET)
    upload, parts = _begin(s3, key, bytes(5 * MIB), bytes(5 * MIB))
    reverse = {"Parts": parts[::-1]}
    code = code_of(s3.complete_multipart_upload, **upload, MultipartUpload=reverse)
    assert code == "InvalidPartOrder"
    aborted, _ = _begin(s3, key)
    s3.abort_multipart_upload(Bucket=BUCKET, **aborted)
    # Of a part of such an upload moto answers 500.
    assert code_of(s3.upload_part, **aborted, PartNumber=1, Body=b"x") == "NoSuchUpload"
    put(s3, key, b"small")  # of which no range can be copied
    part = {**upload, "PartNumber": 3, "CopySource": {"Bucket": BUCKET, "Key": key}}
    assert code_of(s3.upload_part_copy, **part, CopySourceRange="bytes=0-1") == "InvalidRequest"
    assert changed_by_delete(s3, key, IfMatch="*") == 204
    assert changed_by_delete(s3, key, IfMatch="*") == 404
    assert changed_by_delete(s3, key) == 204


def test_versions(s3: Any, key: str) -> None:
    if isinstance(s3, MemoryClient):
        s3 = MemoryClient(BUCKET, versioned=True)
    else:
        enabled = {"Status": "Enabled"}
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=enabled)
    etag = put(s3, key, b"one")
    first = s3.head_object(Bucket=BUCKET, Key=key)["VersionId"]
    put(s3, key, b"two")
    assert changed_by_delete(s3, key, IfMatch=etag) == 412
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert outcome(s3.head_object, Key=key) == 404
    assert changed_by_delete(s3, key, IfMatch=etag) == 404
    assert s3.get_object(Bucket=BUCKET, Key=key, VersionId=first)["Body"].read() == b"one"
    assert put(s3, key, b"one", IfNoneMatch="*") == etag
    assert s3.head_object(Bucket=BUCKET, Key=key)["VersionId"] != first
    found = s3.list_object_versions(Bucket=BUCKET, Prefix=key)
    assert [row["IsLatest"] for row in found["Versions"]] == [True, False, False]
    assert [row["IsLatest"] for row in found["DeleteMarkers"]] == [False]
    if not isinstance(s3, MemoryClient):  # all servers of one process share what they hold
        suspended = {"Status": "Suspended"}
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=suspended)
