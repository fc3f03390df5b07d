"""Fronts of tests' own, before any S3 server: moto, the sandbox, or a proxy that stands between."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import boto3
import trio
from botocore.config import Config

from provenafs.sandbox.gateway import BUCKET, REGION, Gateway
from provenafs.sandbox.s3_exchange import Site
from provenafs.sandbox.s3_front import running_front
from tests.support.running_services import KEYS


def client_of(address: str) -> Any:
    """A client that may do everything."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name=REGION,
        aws_access_key_id=KEYS.root_user,
        aws_secret_access_key=KEYS.root_password,
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )


def client_with_bucket(address: str) -> Any:
    """Such a client of a front over moto, and the bucket, which another test may have made."""
    s3 = client_of(address)
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return s3


@contextmanager
def front_over(target: str) -> Iterator[str]:
    """The address of another front; its server is at `target`."""
    started: list[tuple[str, trio.lowlevel.TrioToken, trio.CancelScope]] = []
    ready = threading.Event()
    where = urlsplit(target)

    async def run() -> None:
        owner = Gateway(0, KEYS, None).owner  # type: ignore[arg-type]
        site = Site((str(where.hostname), where.port or 0), REGION, owner, lambda _: None)
        with socket.socket() as probe, trio.CancelScope() as scope:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            probe.close()
            async with running_front(port, site):
                token = trio.lowlevel.current_trio_token()
                started.append((f"http://127.0.0.1:{port}", token, scope))
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(run,), daemon=True)
    thread.start()
    assert ready.wait(10)
    address, token, scope = started[0]
    try:
        yield address
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(10)
        assert not thread.is_alive()
