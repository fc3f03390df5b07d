"""A bucket in memory, with the methods of a boto3 client and the rules that AWS documents.

Conditions: "How to prevent object overwrites with conditional writes" and "How to perform
conditional deletes" in the S3 User Guide. An object that is not there answers 404 to If-Match, one
that is another answers 412. Multipart uploads: "Amazon S3 multipart upload limits", and the errors
of CompleteMultipartUpload and UploadPartCopy in the API reference. tests/s3/test_same_rules.py
holds it against another server.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from botocore.exceptions import ClientError

from tests.support.memory_answers import (
    CARRIED,
    NoSuchKey,
    Stored,
    answer,
    bare,
    body_of,
    check_crc,
    crc32,
    described,
    headers_given,
    is_match,
    md5_etag,
    now,
    range_of,
    refusal,
    row_of,
)

SMALLEST_PART = 5 * 1024**2  # bytes, of all but the last; and of what a range can be copied
_MOST_PARTS = 10_000
_MOST_KEYS = 1000
_KEY_BYTES = 1024


class _Exceptions:
    ClientError = ClientError
    NoSuchKey = NoSuchKey


@dataclass(slots=True)
class _Upload:
    key: str
    like: Stored
    parts: dict[int, Stored] = field(default_factory=dict)


class MemoryClient:
    """One bucket and its objects, for one client as for another."""

    exceptions = _Exceptions

    def __init__(self, bucket: str, *, versioned: bool = False) -> None:
        self.bucket = bucket
        self.versioned = versioned
        self.looks_at_etags_of_many = True  # False: as servers that pass over them
        self.deletions: Counter[str] = Counter()  # by key
        self._versions: dict[str, list[Stored]] = {}  # the current one last
        self._uploads: dict[str, _Upload] = {}
        self._numbers = count(1)

    def head_bucket(self, *, Bucket: str) -> dict[str, Any]:
        """Whether it is there."""
        self._check(Bucket)
        return answer()

    # Objects

    def put_object(
        self, *, Bucket: str, Key: str, Body: Any = b"", Tagging: str = "", **given: Any
    ) -> dict[str, Any]:
        """Store an object, on a condition."""
        self._check(Bucket, Key)
        body = body_of(Body)
        check_crc(body, given.get("ChecksumCRC32"))
        self._check_change(Key, given)
        stored = self._keep(Key, described(given, Tagging, body, md5_etag(body)))
        return answer({"ETag": stored.etag, **crc32(body)}, stored)

    def get_object(self, *, Bucket: str, Key: str, **given: Any) -> dict[str, Any]:
        """An object or a range of it, on a condition that comes before the range."""
        stored = self._found(Bucket, Key, given)
        body = stored.body or b""
        told: dict[str, Any] = {"status": 200}
        if given.get("Range"):
            start, end = range_of(given["Range"], len(body))
            told = {"status": 206, "ContentRange": f"bytes {start}-{end - 1}/{len(body)}"}
            body = body[start:end]
        return self._told(stored, Body=BytesIO(body), ContentLength=len(body), **told)

    def head_object(self, *, Bucket: str, Key: str, **given: Any) -> dict[str, Any]:
        """An object without its bytes."""
        stored = self._found(Bucket, Key, given)
        return self._told(stored, ContentLength=stored.size)

    def get_object_tagging(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        """The tags of an object."""
        tags = parse_qsl(self._found(Bucket, Key, {}).tags, keep_blank_values=True)
        return answer({"TagSet": [{"Key": name, "Value": value} for name, value in tags]})

    def delete_object(self, *, Bucket: str, Key: str, **given: Any) -> dict[str, Any]:
        """Delete an object, on a condition; without one it need not be there."""
        self._check(Bucket, Key)
        if given.get("IfNoneMatch"):
            raise refusal("NotImplemented")
        self._check_change(Key, given)
        if self.current(Key) is not None:
            self.deletions[Key] += 1
        if self.versioned:
            self._keep(Key, Stored(None))
        else:
            self._versions.pop(Key, None)
        return answer(status=204)

    def delete_objects(self, *, Bucket: str, Delete: Any) -> dict[str, Any]:
        """Delete up to 1,000, each on a condition of its own."""
        wanted = Delete["Objects"]
        if not 0 < len(wanted) <= _MOST_KEYS:
            raise refusal("MalformedXML")
        deleted, errors = [], []
        for item in wanted:
            try:
                etag = item.get("ETag") if self.looks_at_etags_of_many else None
                self.delete_object(Bucket=Bucket, Key=item["Key"], IfMatch=etag)
                deleted.append({"Key": item["Key"]})
            except ClientError as error:
                errors.append({"Key": item["Key"], **error.response["Error"]})
        return answer({"Errors": errors, **({} if Delete.get("Quiet") else {"Deleted": deleted})})

    def copy_object(
        self, *, Bucket: str, Key: str, CopySource: Any, **given: Any
    ) -> dict[str, Any]:
        """Copy an object, on conditions on both. A copy is one piece: its ETag is its MD5."""
        source = self._source(CopySource, given)
        self._check(Bucket, Key)
        replaces = given.get("MetadataDirective") == "REPLACE"
        if CopySource["Key"] == Key and not (replaces or given.get("StorageClass")):
            raise refusal("InvalidRequest")
        self._check_change(Key, given)
        body = source.body or b""
        if replaces:
            copy = described(given, source.tags, body, md5_etag(body))
        else:
            carried = {**source.carried, **headers_given(given)}
            if "StorageClass" not in given:
                carried.pop("StorageClass", None)
            copy = replace(source, etag=md5_etag(body), carried=carried)
        stored = self._keep(Key, copy)
        result = {"ETag": stored.etag, "LastModified": stored.modified}
        return answer({"CopyObjectResult": result}, stored)

    # Listings

    def list_objects_v2(
        self,
        *,
        Bucket: str,
        Prefix: str = "",
        Delimiter: str = "",
        MaxKeys: int = _MOST_KEYS,
        ContinuationToken: str = "",
        StartAfter: str = "",
        EncodingType: str = "",
    ) -> dict[str, Any]:
        """A page of keys and common prefixes, together in the order of their bytes."""
        self._check(Bucket)
        after = base64.b64decode(ContinuationToken) if ContinuationToken else StartAfter.encode()
        contents: list[dict[str, Any]] = []
        prefixes: list[dict[str, str]] = []
        last = b""
        for name, stored in self._names(Prefix, Delimiter, after):
            if len(contents) + len(prefixes) == MaxKeys:
                token = base64.b64encode(last).decode()
                page: dict[str, Any] = {"IsTruncated": True, "NextContinuationToken": token}
                break
            last = name.encode()
            if stored is None:
                prefixes.append({"Prefix": name})
            else:
                contents.append(row_of(name, stored))
        else:
            page = {"IsTruncated": False}
        listed = {"Contents": contents, "CommonPrefixes": prefixes}
        found = {name: rows for name, rows in listed.items() if rows}
        return answer({"KeyCount": len(contents) + len(prefixes), **page, **found})

    def get_paginator(self, name: str) -> _Pages:
        """All pages of a listing, one after another."""
        assert name == "list_objects_v2"
        return _Pages(self)

    def _names(
        self, prefix: str, delimiter: str, after: bytes
    ) -> Iterator[tuple[str, Stored | None]]:
        """Keys with their objects, and the prefixes that others have in common, after a name."""
        seen = ""
        for encoded in sorted(key.encode() for key in self._versions if key.startswith(prefix)):
            key = encoded.decode()
            stored = self.current(key)
            if encoded <= after or stored is None:
                continue
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                yield key, stored
                continue
            common = key[: end + len(delimiter)]
            if common != seen and common.encode() != after:
                seen = common
                yield common, None

    def list_object_versions(self, *, Bucket: str, Prefix: str = "") -> dict[str, Any]:
        """All versions, the newest of each key first, and the delete markers."""
        self._check(Bucket)
        rows = [
            (key, stored, number == 0)
            for key, versions in sorted(self._versions.items())
            if key.startswith(Prefix)
            for number, stored in enumerate(reversed(versions))
        ]
        found = {
            "Versions": [
                {
                    **row_of(key, stored),
                    "VersionId": stored.version or "null",
                    "IsLatest": latest,
                }
                for key, stored, latest in rows
                if stored.body is not None
            ],
            "DeleteMarkers": [
                {"Key": key, "VersionId": stored.version, "IsLatest": latest}
                for key, stored, latest in rows
                if stored.body is None
            ],
        }
        return answer({name: rows for name, rows in found.items() if rows})

    # Multipart uploads

    def create_multipart_upload(
        self, *, Bucket: str, Key: str, Tagging: str = "", **given: Any
    ) -> dict[str, Any]:
        """Begin an upload."""
        self._check(Bucket, Key)
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = _Upload(Key, described(given, Tagging, None, ""))
        return answer({"UploadId": upload_id})

    def upload_part(
        self, *, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: Any, **given: Any
    ) -> dict[str, Any]:
        """Send a part, or send one again."""
        body = body_of(Body)
        check_crc(body, given.get("ChecksumCRC32"))
        etag = self._keep_part(Key, UploadId, PartNumber, body)
        return answer({"ETag": etag, **crc32(body)})

    def upload_part_copy(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        PartNumber: int,
        CopySource: Any,
        **given: Any,
    ) -> dict[str, Any]:
        """Copy an object or a range of it as a part."""
        body = self._source(CopySource, given).body or b""
        if given.get("CopySourceRange"):
            if len(body) <= SMALLEST_PART:
                raise refusal("InvalidRequest")
            start, end = range_of(given["CopySourceRange"], len(body), is_exact=True)
            body = body[start:end]
        etag = self._keep_part(Key, UploadId, PartNumber, body)
        return answer({"CopyPartResult": {"ETag": etag, "LastModified": now(), **crc32(body)}})

    def complete_multipart_upload(
        self, *, Bucket: str, Key: str, UploadId: str, MultipartUpload: Any, **given: Any
    ) -> dict[str, Any]:
        """Make the object, on a condition; one that does not hold leaves the upload."""
        upload = self._upload(Key, UploadId)
        parts = _joined(upload, MultipartUpload.get("Parts") or [])
        self._check_change(Key, given)
        del self._uploads[UploadId]
        digests = b"".join(hashlib.md5(part).digest() for part in parts)
        etag = f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'
        stored = self._keep(Key, replace(upload.like, body=b"".join(parts), etag=etag))
        return answer({"ETag": stored.etag}, stored)

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> dict[str, Any]:
        """Forget the parts."""
        self._upload(Key, UploadId)
        del self._uploads[UploadId]
        return answer(status=204)

    def list_multipart_uploads(self, *, Bucket: str, Prefix: str = "") -> dict[str, Any]:
        """The uploads that are begun and not ended."""
        found = [
            {"Key": upload.key, "UploadId": upload_id}
            for upload_id, upload in self._uploads.items()
            if upload.key.startswith(Prefix)
        ]
        return answer({"Uploads": found} if found else {})

    # What they share

    def current(self, key: str) -> Stored | None:
        """The version that is there; None if there is none."""
        versions = self._versions.get(key)
        return None if not versions or versions[-1].body is None else versions[-1]

    def _keep(self, key: str, stored: Stored) -> Stored:
        version = f"v{next(self._numbers)}" if self.versioned else None
        stored = replace(stored, version=version, modified=now())
        if self.versioned:
            self._versions.setdefault(key, []).append(stored)
        else:
            self._versions[key] = [stored]
        return stored

    def _check(self, bucket: str, key: str = "") -> None:
        if bucket != self.bucket:
            raise refusal("NoSuchBucket")
        if len(key.encode()) > _KEY_BYTES:
            raise refusal("KeyTooLongError")

    def _check_change(self, key: str, given: Mapping[str, Any]) -> None:
        match, none_match = given.get("IfMatch"), given.get("IfNoneMatch")
        if none_match is not None and (match is not None or none_match != "*"):
            raise refusal("NotImplemented")
        if match is None and none_match is None:
            return
        stored = self.current(key)
        if none_match is not None and stored is not None:
            raise refusal("PreconditionFailed")
        if match is not None and stored is None:
            raise refusal("NoSuchKey")
        if match is not None and stored is not None and not is_match(match, stored):
            raise refusal("PreconditionFailed")

    def _found(self, bucket: str, key: str, given: Mapping[str, Any]) -> Stored:
        self._check(bucket, key)
        version = given.get("VersionId")
        stored = self.current(key)
        if version is not None:
            versions = self._versions.get(key, [])
            stored = next((one for one in versions if one.version == version), None)
        if stored is None:
            raise refusal("NoSuchKey" if version is None else "NoSuchVersion")
        if given.get("IfMatch") is not None and not is_match(given["IfMatch"], stored):
            raise refusal("PreconditionFailed")
        return stored

    def _source(self, source: Mapping[str, str], given: Mapping[str, Any]) -> Stored:
        stored = self._found(source["Bucket"], source["Key"], {})
        match, none_match = given.get("CopySourceIfMatch"), given.get("CopySourceIfNoneMatch")
        if match is not None and not is_match(match, stored):
            raise refusal("PreconditionFailed")
        if none_match is not None and is_match(none_match, stored):
            raise refusal("PreconditionFailed")
        return stored

    def _upload(self, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise refusal("NoSuchUpload")
        return upload

    def _keep_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        if not 1 <= number <= _MOST_PARTS:
            raise refusal("InvalidArgument")
        etag = md5_etag(body)
        self._upload(key, upload_id).parts[number] = Stored(body, etag)
        return etag

    def _told(self, stored: Stored, *, status: int = 200, **fields: Any) -> dict[str, Any]:
        headers = {CARRIED[name]: text for name, text in stored.carried.items()}
        if stored.tags:
            headers["x-amz-tagging-count"] = str(len(parse_qsl(stored.tags)))
        known = {
            "ETag": stored.etag,
            "LastModified": stored.modified,
            "Metadata": dict(stored.metadata),
            **stored.carried,
        }
        return answer({**known, **fields}, stored, status=status, headers=headers)


class _Pages:
    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    def paginate(self, **given: Any) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._client.list_objects_v2(ContinuationToken=token, **given)
            yield page
            token = page.get("NextContinuationToken", "")
            if not token:
                return


def _joined(upload: _Upload, listed: list[Mapping[str, Any]]) -> list[bytes]:
    numbers = [part["PartNumber"] for part in listed]
    if not listed:
        raise refusal("MalformedXML")
    if numbers != sorted(set(numbers)):
        raise refusal("InvalidPartOrder")
    bodies = []
    for part in listed:
        sent = upload.parts.get(part["PartNumber"])
        if sent is None or bare(sent.etag) != bare(part["ETag"]):
            raise refusal("InvalidPart")
        body = sent.body or b""
        check_crc(body, part.get("ChecksumCRC32"))
        bodies.append(body)
    if any(len(body) < SMALLEST_PART for body in bodies[:-1]):
        raise refusal("EntityTooSmall")
    return bodies
