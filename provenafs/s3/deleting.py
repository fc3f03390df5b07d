"""Conditional deletes, which never remove an object stored since.

A DELETE names the ETag that it expects, and equal bytes have equal ETags: what tells an object
from an equal one is when it was stored, and by which write. So every attempt but the first looks
again. No version is named: that would delete it for good, where a bucket that keeps versions only
gets a marker, and would bring the version before it back to light.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from provenafs.s3.bucket import Bucket
from provenafs.s3.error_codes import CURES, Cure
from provenafs.s3.errors import PreconditionFailed
from provenafs.s3.types import CredentialScope

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from provenafs.s3.metadata import Head

AT_ONCE = 1000  # keys that S3 takes in one request
_NO_ETAG = '"00000000000000000000000000000000"'
_NO_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Fate(Enum):
    """The outcome for one key of many."""

    DELETED = auto()
    ABSENT = auto()  # it was not there
    CHANGED = auto()  # it stays: another client has stored another


_FATES: Mapping[Cure | None, Fate] = {Cure.GONE: Fate.ABSENT, Cure.STALE: Fate.CHANGED}


class Removal:
    """An object to delete, possibly in several attempts."""

    def __init__(self, key: str, etag: str | None, began_at: float | None = None) -> None:
        """`etag` None: whatever is there. `began_at` in seconds since the epoch; None is now."""
        self.key = key
        self.etag = etag
        self.was_attempted = False
        self._began_at = time.time() if began_at is None else began_at
        self._seen: Head | None = None

    def check(self, head: Head) -> None:
        """Raise PreconditionFailed if what is there now was stored since."""
        if self.etag is None:
            return
        seen = self._seen or head
        is_same = (head.etag, head.modified_ns, head.version, head.metadata.write_id) == (
            self.etag, seen.modified_ns, seen.version, seen.metadata.write_id,
        )  # fmt: skip
        if not is_same or head.modified_ns / 1e9 > self._began_at + head.ahead:
            raise PreconditionFailed(f"deleting {self.key}: it was stored anew")
        self._seen = head


def fits_batch(key: str) -> bool:
    """Whether XML can carry a key."""
    return _NO_XML.search(key) is None


async def delete_many(bucket: Bucket, wanted: Mapping[str, str]) -> Mapping[str, Fate]:
    """Delete objects, each only if it has the ETag given with its key: one request, one attempt.

    Keys with an unclear result are left out, as are refused ones. Raises S3Error for
    the request as a whole. Not every server looks at the ETags: see checks_etags.
    """

    def send(s3: S3Client) -> Mapping[str, Fate]:
        objects: list[Any] = [{"Key": key, "ETag": etag} for key, etag in wanted.items()]
        answer = s3.delete_objects(Bucket=bucket.name, Delete={"Objects": objects})
        return _fates(answer, wanted)

    what = f"deleting {len(wanted)} objects"
    return await bucket.boto(
        what, send, bucket.service.uploads, access=CredentialScope.WRITE, retry=False
    )


def _fates(answer: Mapping[str, Any], wanted: Mapping[str, str]) -> Mapping[str, Fate]:
    told: dict[str, list[Fate | None]] = {}
    for name in ("Deleted", "Errors"):
        rows = answer.get(name)
        for row in rows if isinstance(rows, list) else []:
            key, code = row.get("Key"), row.get("Code")
            if isinstance(key, str) and key in wanted:
                cure = CURES.get(code) if isinstance(code, str) else None
                fate = Fate.DELETED if name == "Deleted" else _FATES.get(cure)
                told.setdefault(key, []).append(fate)
    # A key reported as both deleted and present is unclear.
    return {key: fates[0] for key, fates in told.items() if len(set(fates)) == 1 and fates[0]}


async def checks_etags(bucket: Bucket, unused_key: str) -> bool:
    """Whether the server looks at the ETags in a deletion of many. S3Error.

    Asked with a key that nobody uses: S3 answers that there is no object to have the ETag, a
    server that does not look that it is deleted.
    """
    fates = await delete_many(bucket, {unused_key: _NO_ETAG})
    return fates.get(unused_key) in (Fate.ABSENT, Fate.CHANGED)
