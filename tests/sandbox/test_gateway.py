"""What the S3 server lets issued keys do, asked with the keys that users really get.

It enforces the session policy as AWS does; what the front adds is in test_s3_front.py. Where it
differs is in the last tests of this file: a test that relies on AWS in one of those needs another
server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.support.running_sandbox import RunningSandbox

OCEAN, PENGUINS, STATIONS = "10378.1/1451860", "10378.1/1451870", "10378.1/1451890"
RELEASED, UNDER_REVIEW, LOCKED = "10378.1/1451940", "10378.1/1451950", "10378.1/1451960"
EMBARGOED, EXTERNAL = "10378.1/1451970", "10378.1/1451980"
PRIVATE, CAROLS, TEAMS, POOL = (
    "10378.1/1451990",
    "10378.1/1452000",
    "10378.1/1452010",
    "10378.1/1452060",
)
Request = Callable[[Any, str, str], Any]
"""Something asked of a client, with a bucket and a key."""


@pytest.fixture(scope="module")
def own(sandbox: RunningSandbox) -> str:
    """The handle of a dataset of alice's that these tests may change."""
    handle = sandbox.mint("alice", "For the tests of the S3 server")
    key = sandbox.prefix(handle) + "a.txt"
    sandbox.s3().put_object(Bucket=sandbox.bucket, Key=key, Body=b"a")
    return handle


@pytest.fixture(scope="module")
def reader(sandbox: RunningSandbox, own: str) -> Any:
    """Keys with which bob may read that dataset."""
    return sandbox.s3_as("bob", own)


@pytest.fixture(scope="module")
def writer(sandbox: RunningSandbox, own: str) -> Any:
    """Keys with which alice may write that dataset."""
    return sandbox.s3_as("alice", own, "write")


def refusal(request: Request, client: Any, bucket: str, key: str) -> str:
    """The code with which a request is refused; 'allowed' if it is not."""
    try:
        request(client, bucket, key)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"


CHANGES: dict[str, Request] = {
    "PutObject": lambda s3, bucket, key: s3.put_object(Bucket=bucket, Key=key, Body=b"x"),
    "DeleteObject": lambda s3, bucket, key: s3.delete_object(Bucket=bucket, Key=key),
    "CreateMultipartUpload": lambda s3, bucket, key: s3.create_multipart_upload(
        Bucket=bucket, Key=key
    ),
    "CopyObject": lambda s3, bucket, key: s3.copy_object(
        Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key}
    ),
    "PutObjectTagging": lambda s3, bucket, key: s3.put_object_tagging(
        Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]}
    ),
}
READS: dict[str, Request] = {
    "GetObject": lambda s3, bucket, key: s3.get_object(Bucket=bucket, Key=key),
    "HeadObject": lambda s3, bucket, key: s3.head_object(Bucket=bucket, Key=key),
    "GetObjectTagging": lambda s3, bucket, key: s3.get_object_tagging(Bucket=bucket, Key=key),
}
NEVER: dict[str, Request] = {
    "GetBucketLocation": lambda s3, bucket, key: s3.get_bucket_location(Bucket=bucket),
    "GetBucketPolicy": lambda s3, bucket, key: s3.get_bucket_policy(Bucket=bucket),
    "CreateBucket": lambda s3, bucket, key: s3.create_bucket(Bucket="another-bucket"),
    "DeleteBucket": lambda s3, bucket, key: s3.delete_bucket(Bucket=bucket),
}


@pytest.mark.parametrize("name", CHANGES)
def test_keys_for_reading_change_nothing(
    sandbox: RunningSandbox, own: str, reader: Any, name: str
) -> None:
    key = sandbox.prefix(own) + "a.txt"
    assert refusal(CHANGES[name], reader, sandbox.bucket, key) == "AccessDenied"
    body = sandbox.s3().get_object(Bucket=sandbox.bucket, Key=key)["Body"].read()
    assert body == b"a"


@pytest.mark.parametrize("name", READS)
def test_keys_read_their_dataset_and_no_other(
    sandbox: RunningSandbox, own: str, reader: Any, writer: Any, name: str
) -> None:
    foreign = sandbox.prefix(OCEAN) + "README.txt"
    for client in (reader, writer):
        key = sandbox.prefix(own) + "a.txt"
        assert refusal(READS[name], client, sandbox.bucket, key) == "allowed"
        assert refusal(READS[name], client, sandbox.bucket, foreign) in ("AccessDenied", "403")


@pytest.mark.parametrize("name", CHANGES)
def test_keys_for_writing_change_no_other_dataset(
    sandbox: RunningSandbox, writer: Any, name: str
) -> None:
    foreign = sandbox.prefix(OCEAN) + "README.txt"
    assert refusal(CHANGES[name], writer, sandbox.bucket, foreign) == "AccessDenied"
    body = sandbox.s3().get_object(Bucket=sandbox.bucket, Key=foreign)["Body"].read()
    digest = sandbox.manifest[OCEAN]["README.txt"]["sha256"]
    assert hashlib.sha256(body).hexdigest() == digest


def test_a_handle_that_begins_alike_is_another_dataset(
    sandbox: RunningSandbox, own: str, writer: Any
) -> None:
    neighbour = sandbox.prefix(own).rstrip("/") + "0/a.txt"
    put = CHANGES["PutObject"]
    assert refusal(put, writer, sandbox.bucket, neighbour) == "AccessDenied"


def test_keys_for_writing_do_all_that_a_mount_does(
    sandbox: RunningSandbox, own: str, writer: Any
) -> None:
    bucket, prefix = sandbox.bucket, sandbox.prefix(own)
    for request in (CHANGES["PutObject"], CHANGES["PutObjectTagging"], CHANGES["DeleteObject"]):
        assert refusal(request, writer, bucket, prefix + "changed.txt") == "allowed"
    writer.put_object(Bucket=bucket, Key=prefix + "old name.txt", Body=b"moved")
    writer.copy_object(
        Bucket=bucket,
        Key=prefix + "new name.txt",
        CopySource={"Bucket": bucket, "Key": prefix + "old name.txt"},
    )
    writer.delete_object(Bucket=bucket, Key=prefix + "old name.txt")
    listed = writer.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert [entry["Key"].removeprefix(prefix) for entry in listed] == [
        "a.txt",
        "metadata.json",
        "new name.txt",
    ]


def test_an_upload_in_parts_is_finished_or_given_up(
    sandbox: RunningSandbox, own: str, writer: Any
) -> None:
    name = {"Bucket": sandbox.bucket, "Key": sandbox.prefix(own) + "parts.bin"}
    parts = []
    upload = writer.create_multipart_upload(**name)["UploadId"]
    for number, body in enumerate((b"1" * 5 * 1024 * 1024, b"2"), 1):
        part = writer.upload_part(**name, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    writer.complete_multipart_upload(**name, UploadId=upload, MultipartUpload={"Parts": parts})
    head = writer.head_object(**name)
    assert head["ContentLength"] == 5 * 1024 * 1024 + 1
    assert head["ETag"].endswith('-2"')
    upload = writer.create_multipart_upload(**name)["UploadId"]
    writer.abort_multipart_upload(**name, UploadId=upload)
    writer.delete_object(**name)


def test_nothing_is_copied_in_from_another_dataset(
    sandbox: RunningSandbox, own: str, writer: Any
) -> None:
    def copy(client: Any, bucket: str, key: str) -> Any:
        source = {"Bucket": bucket, "Key": sandbox.prefix(OCEAN) + "README.txt"}
        return client.copy_object(Bucket=bucket, Key=key, CopySource=source)

    key = sandbox.prefix(own) + "stolen.txt"
    assert refusal(copy, writer, sandbox.bucket, key) == "AccessDenied"


def test_listing_is_allowed_throughout_the_bucket(sandbox: RunningSandbox, reader: Any) -> None:
    for list_objects in (reader.list_objects, reader.list_objects_v2):
        page = list_objects(Bucket=sandbox.bucket, Prefix=sandbox.prefix(PRIVATE))
        assert len(page["Contents"]) == 3
    reader.head_bucket(Bucket=sandbox.bucket)


@pytest.mark.parametrize("name", NEVER)
def test_beyond_objects_and_listing_nothing_is_allowed(
    sandbox: RunningSandbox, own: str, reader: Any, writer: Any, name: str
) -> None:
    for client in (reader, writer):
        key = sandbox.prefix(own) + "a.txt"
        assert refusal(NEVER[name], client, sandbox.bucket, key) != "allowed"


def test_the_parts_of_an_upload_cannot_be_listed(
    sandbox: RunningSandbox, own: str, writer: Any
) -> None:
    name = {"Bucket": sandbox.bucket, "Key": sandbox.prefix(own) + "unfinished.bin"}
    upload = writer.create_multipart_upload(**name)["UploadId"]

    def list_parts(client: Any, bucket: str, key: str) -> Any:
        return client.list_parts(Bucket=bucket, Key=key, UploadId=upload)

    assert refusal(list_parts, writer, name["Bucket"], name["Key"]) == "AccessDenied"
    writer.abort_multipart_upload(**name, UploadId=upload)


def test_what_is_missing_is_404_inside_and_403_outside(
    sandbox: RunningSandbox, own: str, reader: Any
) -> None:
    head = READS["HeadObject"]
    assert refusal(head, reader, sandbox.bucket, sandbox.prefix(own) + "none") == "404"
    assert refusal(head, reader, sandbox.bucket, sandbox.prefix(OCEAN) + "none") == "403"


def test_keys_with_a_changed_session_token_are_no_keys(sandbox: RunningSandbox, own: str) -> None:
    key = sandbox.prefix(own) + "a.txt"
    key_id, secret, token = sandbox.keys("bob", own)
    forged = sandbox.s3_with(key_id, secret, token[:-4] + "AAAA")
    without = sandbox.s3_with(key_id, secret)
    for client in (forged, without):
        assert refusal(READS["GetObject"], client, sandbox.bucket, key) != "allowed"


@pytest.mark.parametrize(
    ("user", "handle", "read", "write"),
    [
        ("alice", PENGUINS, 200, 200),
        ("bob", PENGUINS, 200, 401),
        ("carol", PENGUINS, 200, 401),
        ("dave", PENGUINS, 401, 401),
        ("admin", PENGUINS, 200, 200),
        ("alice", LOCKED, 200, 401),
        ("admin", LOCKED, 200, 401),
        ("alice", RELEASED, 200, 403),
        ("alice", UNDER_REVIEW, 200, 403),
        ("alice", EMBARGOED, 401, 401),
        ("admin", EMBARGOED, 200, 200),
        ("alice", EXTERNAL, 200, 200),
        ("alice", PRIVATE, 200, 200),
        ("bob", PRIVATE, 401, 401),
        ("alice", CAROLS, 401, 401),
        ("alice", TEAMS, 401, 401),
        ("bob", TEAMS, 200, 401),
        ("alice", POOL, 200, 200),
        ("bob", POOL, 200, 401),
    ],
)
def test_who_gets_keys_for_the_samples(
    sandbox: RunningSandbox, user: str, handle: str, read: int, write: int
) -> None:
    got = [sandbox.ask_for_keys(user, handle, access).status_code for access in ("read", "write")]
    assert got == [read, write]


def test_a_signed_link_gives_one_file_and_only_that(sandbox: RunningSandbox) -> None:
    answer = sandbox.api(
        "bob",
        "POST",
        f"{sandbox.running.datastore}/registry/items/generate-presigned-url",
        json={"dataset_id": PENGUINS, "file_path": "penguins.csv"},
    )
    url = answer.json()["presigned_url"]
    with httpx.Client(trust_env=False) as client:
        content = client.get(url).content
        elsewhere = client.get(url.replace("penguins.csv", "penguins-raw.csv"))
    expected = sandbox.manifest[PENGUINS]["penguins.csv"]
    assert (len(content), hashlib.sha256(content).hexdigest()) == tuple(expected.values())
    assert elsewhere.status_code == 403


def test_the_manifest_is_what_the_bucket_holds(sandbox: RunningSandbox) -> None:
    pages = sandbox.s3().get_paginator("list_objects_v2").paginate(Bucket=sandbox.bucket)
    sizes = {entry["Key"]: entry["Size"] for page in pages for entry in page["Contents"]}
    for handle, files in sandbox.manifest.items():
        prefix = sandbox.prefix(handle)
        held = {
            key.removeprefix(prefix): size for key, size in sizes.items() if key.startswith(prefix)
        }
        metadata = held.pop("metadata.json")
        assert metadata > 0
        assert held == {path: entry["size"] for path, entry in files.items()}
    assert len(sandbox.manifest[STATIONS]) == 5000
    assert max(sizes.values()) > 64 * 1024 * 1024


def test_the_folder_holds_the_record_as_metadata_json(sandbox: RunningSandbox) -> None:
    key = sandbox.prefix(PENGUINS) + "metadata.json"
    stored = sandbox.s3().get_object(Bucket=sandbox.bucket, Key=key)["Body"].read()
    assert stored == json.dumps(json.loads(stored), indent=2).encode()
    info = sandbox.item(PENGUINS)["collection_format"]["dataset_info"]
    assert json.loads(stored)["dataset_info"]["description"] == info["description"]


def test_the_samples_are_in_the_states_they_are_for(sandbox: RunningSandbox) -> None:
    states = {
        handle: sandbox.item(handle)["release_status"]
        for handle in (PENGUINS, RELEASED, UNDER_REVIEW)
    }
    assert list(states.values()) == ["NOT_RELEASED", "RELEASED", "PENDING"]
    chain = [sandbox.item(f"10378.1/14519{number}0")["versioning_info"] for number in (1, 2, 3)]
    assert [entry["version"] for entry in chain] == [1, 2, 3]
    assert chain[2]["previous_version"] == "10378.1/1451920"
    assert len(sandbox.item(PENGUINS)["history"]) == 2
    external = sandbox.item(EXTERNAL)["collection_format"]["dataset_info"]["access_info"]
    assert external["reposited"] is False


def test_parts_of_any_size_are_taken(sandbox: RunningSandbox, own: str, writer: Any) -> None:
    """AWS would answer EntityTooSmall."""
    name = {"Bucket": sandbox.bucket, "Key": sandbox.prefix(own) + "tiny.bin"}
    upload = writer.create_multipart_upload(**name)["UploadId"]
    parts = []
    for number in (1, 2):
        part = writer.upload_part(**name, UploadId=upload, PartNumber=number, Body=b"tiny")
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    writer.complete_multipart_upload(**name, UploadId=upload, MultipartUpload={"Parts": parts})
    assert writer.get_object(**name)["Body"].read() == b"tinytiny"
    writer.delete_object(**name)


def test_buckets_are_listed_to_whoever_may_list_in_them(
    sandbox: RunningSandbox, reader: Any
) -> None:
    """AWS would answer AccessDenied."""
    assert [bucket["Name"] for bucket in reader.list_buckets()["Buckets"]] == [sandbox.bucket]
