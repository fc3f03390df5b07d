"""The bare clients: the same work without a mount, as the limit of what can be reached."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
from boto3.s3.transfer import TransferConfig
from obstore.store import S3Store

from bench.objects import Objects
from bench.rows import SECONDS, Measures, Run, timed
from bench.scale import MIB
from provenafs.sandbox.gateway import BUCKET, REGION

_RANGE_BYTES = 8 * MIB
_THREADS = 8


def read_with_boto3(run: Run) -> Measures:
    """The large file in parallel ranged GETs of boto3."""
    objects = Objects(run.peer.site, run.endpoint)
    key = objects.key("large/field.bin")

    def read(start: int) -> int:
        ranged = f"bytes={start}-{start + _RANGE_BYTES - 1}"
        body = objects.s3.get_object(Bucket=BUCKET, Key=key, Range=ranged)["Body"]
        return len(body.read())

    return {SECONDS: timed(lambda: _in_ranges(read, run.scale.large))}


def read_with_obstore(run: Run) -> Measures:
    """The large file in parallel ranged GETs of obstore."""
    keys = run.peer.site.keys()
    options: Any = {
        "access_key_id": keys.key_id,
        "secret_access_key": keys.secret,
        "session_token": keys.token,
        "region": REGION,
        "endpoint": run.endpoint,
        "virtual_hosted_style_request": False,
    }
    store = S3Store(BUCKET, client_options={"allow_http": True}, **options)
    key = f"{run.peer.site.prefix}large/field.bin"

    def read(start: int) -> int:
        return len(obstore.get_range(store, key, start=start, length=_RANGE_BYTES))

    return {SECONDS: timed(lambda: _in_ranges(read, run.scale.large))}


def list_many(run: Run) -> Measures:
    """All keys of the folder `many` in pages, one after the other, of boto3."""
    objects = Objects(run.peer.site, run.endpoint)
    return {SECONDS: timed(lambda: objects.stored("many"))}


def write_with_boto3(run: Run) -> Measures:
    """The large file by boto3's own parallel multipart upload."""
    objects = Objects(run.peer.site, run.endpoint)
    source, key = run.local("large/field.bin"), objects.key(f"{run.written}/field.bin")
    config = TransferConfig(max_concurrency=_THREADS, multipart_chunksize=_RANGE_BYTES)
    upload = lambda: objects.s3.upload_file(str(source), BUCKET, key, Config=config)  # noqa: E731
    return {SECONDS: timed(upload)}


def _in_ranges(read: Any, size: int) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        total = sum(threads.map(read, range(0, size, _RANGE_BYTES)))
    assert total == size
