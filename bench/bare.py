"""The bare clients: the same work without a mount, as the limit of what can be reached."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import obstore
from boto3.s3.transfer import TransferConfig
from obstore.store import S3Store

from bench.objects import Objects
from bench.ranges import RangesOf
from bench.rows import SECONDS, Measure, Measures, Run, timed
from bench.scale import MIB
from bench.servers import BenchError
from provenafs.sandbox.gateway import BUCKET, REGION

_RANGE_BYTES = 8 * MIB
_THREADS = 8


def read_whole_with_boto3(name: str, connections: int = _THREADS) -> Measure:
    """One file in parallel ranged GETs of boto3."""

    def measure(run: Run) -> Measures:
        objects = Objects(run.peer.site, run.endpoint)
        size = run.local(name).stat().st_size

        def read(start: int) -> int:
            return len(objects.get(name, start, min(_RANGE_BYTES, size - start)))

        return {SECONDS: timed(lambda: _in_ranges(read, size, connections))}

    return measure


def read_ranges_with_boto3(name: str, ranges_of: RangesOf) -> Measure:
    """Only the bytes that are needed, a GET for each range, one after the other."""

    def measure(run: Run) -> Measures:
        objects = Objects(run.peer.site, run.endpoint)
        ranges = ranges_of(run.local(name), run.scale.pieces)
        found: list[bytes] = []
        seconds = timed(lambda: found.extend(objects.get(name, *one) for one in ranges))
        with run.local(name).open("rb") as file:
            if found != [os.pread(file.fileno(), length, start) for start, length in ranges]:
                raise BenchError(f"ranges of {name} were read with wrong bytes")
        return {SECONDS: seconds}

    return measure


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

    return {SECONDS: timed(lambda: _in_ranges(read, run.scale.large, _THREADS))}


def list_many(run: Run) -> Measures:
    """All keys of the folder `many` in pages, one after the other, of boto3."""
    objects = Objects(run.peer.site, run.endpoint)
    return {SECONDS: timed(lambda: objects.stored("many"))}


def write_with_boto3(connections: int = _THREADS) -> Measure:
    """The large file by boto3's own parallel multipart upload."""
    config = TransferConfig(max_concurrency=connections, multipart_chunksize=_RANGE_BYTES)

    def measure(run: Run) -> Measures:
        objects = Objects(run.peer.site, run.endpoint)
        source, key = run.local("large/field.bin"), objects.key(f"{run.written}/field.bin")
        upload = partial(objects.s3.upload_file, str(source), BUCKET, key, Config=config)
        return {SECONDS: timed(upload)}

    return measure


def _in_ranges(read: Callable[[int], int], size: int, connections: int) -> None:
    with ThreadPoolExecutor(connections) as threads:
        total = sum(threads.map(read, range(0, size, _RANGE_BYTES)))
    assert total == size
