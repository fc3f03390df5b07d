"""boto3 clients for the current credentials, independent of the user's AWS settings."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.handlers import add_expect_header

from provenafs import __version__
from provenafs.s3.listing import FastListParserFactory
from provenafs.s3.sender import Sender
from provenafs.s3.types import Credentials
from provenafs.s3.wire import WHOLE, HttpRequest, Wire

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

DEFAULT_REGION = "ap-southeast-2"
_CONNECT_TIMEOUT_S = 10.0
_CLIENTS_KEPT = 32
# Also spares botocore from putting its own together for each request: 5 % of a small one.
_USER_AGENT = f"provenafs/{__version__}"

# The user's profile, configuration files and endpoint belong to other buckets.
_NO_USER_SETTINGS = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "ca_bundle": (None, None, None, None),
}


class Clients:
    """Makes clients, and keeps those of the credentials used last. Thread-safe."""

    def __init__(self, endpoint_url: str | None, read_timeout: float, connections: int) -> None:
        """`endpoint_url` None means AWS; `read_timeout` in seconds without a byte."""
        self.endpoint_url = endpoint_url
        self.wire = Wire(endpoint_url, (_CONNECT_TIMEOUT_S, read_timeout), connections)
        self.sender = Sender(endpoint_url, self.wire, _USER_AGENT)
        self._lock = threading.Lock()
        self._boto: OrderedDict[tuple[str, str], S3Client] = OrderedDict()

    def boto(self, region: str, credentials: Credentials) -> S3Client:
        """A boto3 client; it does not retry by itself."""
        key = (region, credentials.access_key_id)
        with self._lock:
            client = self._boto.get(key)
            if client is None:
                client = self._make_boto(region, credentials)
            self._boto[key] = client
            self._boto.move_to_end(key)
            if len(self._boto) > _CLIENTS_KEPT:
                self._boto.popitem(last=False)
            return client

    @cached_property
    def _session(self) -> botocore.session.Session:
        session = botocore.session.Session(session_vars=_NO_USER_SETTINGS)
        session.register_component("response_parser_factory", FastListParserFactory())
        return session

    def _make_boto(self, region: str, credentials: Credentials) -> S3Client:
        client = self._session.create_client(
            "s3",
            region_name=region,
            endpoint_url=self.endpoint_url or f"https://s3.{region}.amazonaws.com",
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            config=Config(
                signature_version="s3v4",
                user_agent=_USER_AGENT,
                s3={
                    "addressing_style": "path" if self.endpoint_url else "virtual",
                    # Bodies carry a CRC; their SHA-256 would cost as much as sending them.
                    "payload_signing_enabled": False,
                },
                retries={"total_max_attempts": 1, "mode": "standard"},
                use_dualstack_endpoint=False,
                use_fips_endpoint=False,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        send: Any = self._send  # the stubs do not know that it may answer
        client.meta.events.register_last("before-send.s3", send)
        # Waiting for "100 Continue" would cost each stored file a round trip.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return cast("S3Client", client)

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Carry a request of boto3 over the wire, in the place of its own connections.

        What is raised here goes through boto3 as it is, before it looks for something to retry or
        for a region that it is redirected to.
        """
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        sent = HttpRequest(request.method, request.url, headers, request.body)
        answer = self.wire.exchange(sent, WHOLE if request.stream_output else None)
        received: Any = answer.headers  # the stubs want botocore's own kind of mapping
        return AWSResponse(request.url, answer.status, received, _Received(answer.body))


class _Received(BytesIO):
    """A body that is there already, as boto3 reads one."""

    def stream(self) -> Iterator[bytes]:
        """All of it."""
        yield self.getvalue()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
