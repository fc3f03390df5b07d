"""A moto server and a bucket in it, for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.response import Response
from provenafs.s3.types import Credentials, CredentialScope
from provenafs.s3.wire import HttpRequest

BUCKET = "store"


@contextmanager
def moto() -> Iterator[str]:
    """The address of a moto server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(address: str, name: str = BUCKET) -> Any:
    """A client of a moto server, and the bucket, which other tests of this process may have made.

    All servers of one process share what they hold.
    """
    s3 = client(address)
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=name)
    return s3


def client(address: str, **config: Any) -> Any:
    """A plain boto3 client: the other user of the bucket."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=40, **config),
    )


async def credentials(access: CredentialScope, rejected: Credentials | None) -> Credentials:
    """What moto takes: anything."""
    return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))


class RecordingBucket(Bucket):
    """A bucket that remembers the requests it sent, with their headers in lower case.

    Reads of ranges are not among them: when they come is up to the kernel and read-ahead.
    """

    def __init__(self, address: str, io_timeout: float = 10.0) -> None:
        super().__init__(BUCKET, credentials, S3Context(address, io_timeout))
        self.sent: list[tuple[str, dict[str, str]]] = []
        wire = self.service.clients.wire
        sent = wire.sent

        def record(request: HttpRequest) -> AbstractContextManager[Response]:
            if "range" not in request.headers:
                self.sent.append((f"{request.method} {request.url}", dict(request.headers)))
            return sent(request)

        wire.sent = record  # type: ignore[assignment]
