"""What a client does to one bucket, and what comes of it: statuses, codes and bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from provenafs.sandbox.gateway import BUCKET

WRONG = '"0123456789abcdef0123456789abcdef"'


def put(s3: Any, key: str, body: bytes = b"old", **conditions: str) -> str:
    return str(s3.put_object(Bucket=BUCKET, Key=key, Body=body, **conditions)["ETag"])


def body_of(s3: Any, key: str) -> bytes | None:
    try:
        return bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None


def outcome(call: Callable[..., Any], **arguments: Any) -> int:
    """The HTTP status of a request to the bucket."""
    try:
        return int(call(Bucket=BUCKET, **arguments)["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def changed_by_put(s3: Any, key: str, **conditions: str) -> int:
    return outcome(s3.put_object, Key=key, Body=b"new", **conditions)


def changed_by_empty_put(s3: Any, key: str, **conditions: str) -> int:
    return outcome(s3.put_object, Key=key, Body=b"", **conditions)


def changed_by_copy(s3: Any, key: str, **conditions: str) -> int:
    put(s3, f"{key}.source", b"new")
    source = {"Bucket": BUCKET, "Key": f"{key}.source"}
    return outcome(s3.copy_object, Key=key, CopySource=source, **conditions)


def changed_by_complete(s3: Any, key: str, **conditions: str) -> int:
    upload = {
        "Key": key,
        "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"],
    }
    part = s3.upload_part(Bucket=BUCKET, **upload, PartNumber=1, Body=b"new")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return outcome(s3.complete_multipart_upload, **upload, MultipartUpload=parts, **conditions)


def changed_by_delete(s3: Any, key: str, **conditions: str) -> int:
    return outcome(s3.delete_object, Key=key, **conditions)


WRITES = [changed_by_put, changed_by_empty_put, changed_by_copy, changed_by_complete]
CHANGES = [*WRITES, changed_by_delete]


def delete_many(s3: Any, objects: list[dict[str, str]], **options: Any) -> dict[str, str]:
    """What became of each key: "deleted", or the code of its error."""
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects, **options})
    deleted = {entry["Key"]: "deleted" for entry in answer.get("Deleted", [])}
    return deleted | {entry["Key"]: entry["Code"] for entry in answer.get("Errors", [])}


def assert_if_match_holds(s3: Any, key: str, change: Callable[..., int]) -> None:
    """A change with If-Match is made to the version it names only, and to no missing object."""
    etag = put(s3, key)
    assert change(s3, key, IfMatch=WRONG) == 412
    assert body_of(s3, key) == b"old"
    assert change(s3, key, IfMatch=etag) in (200, 204)
    assert body_of(s3, key) != b"old"
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert change(s3, key, IfMatch=etag) == 404
    assert body_of(s3, key) is None
