"""boto3 and obstore clients for the credentials of the moment, free of the user's AWS settings."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

import botocore.session
from botocore.config import Config
from botocore.handlers import add_expect_header

from provenafs import __version__
from provenafs.s3.listing import FastListParserFactory
from provenafs.s3.sender import Sender
from provenafs.s3.types import Credentials

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from obstore.store import S3Store

DEFAULT_REGION = "ap-southeast-2"
_CONNECT_TIMEOUT_S = 10.0
_CLIENTS_KEPT = 32
# Also spares botocore from putting its own together for each request: 5 % of a small one.
_USER_AGENT = f"provenafs/{__version__}"

_Key = TypeVar("_Key")
_Client = TypeVar("_Client")

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
        self._read_timeout = read_timeout
        self._connections = connections
        self.sender = Sender(
            endpoint_url, (_CONNECT_TIMEOUT_S, read_timeout), connections, _USER_AGENT
        )
        self._session = botocore.session.Session(session_vars=_NO_USER_SETTINGS)
        self._session.register_component("response_parser_factory", FastListParserFactory())
        self._lock = threading.Lock()
        self._boto: OrderedDict[tuple[str, str], S3Client] = OrderedDict()
        self._stores: OrderedDict[tuple[str, str, str], S3Store] = OrderedDict()

    def boto(self, region: str, credentials: Credentials) -> S3Client:
        """A boto3 client; it does not retry by itself."""
        key = (region, credentials.access_key_id)
        with self._lock:
            client = self._boto.get(key)
            if client is None:
                client = self._make_boto(region, credentials)
            return _keep(self._boto, key, client)

    def store(self, bucket: str, region: str, credentials: Credentials) -> S3Store:
        """An obstore client for one bucket; it does not retry by itself."""
        key = (bucket, region, credentials.access_key_id)
        with self._lock:
            store = self._stores.get(key)
            if store is None:
                store = self._make_store(bucket, region, credentials)
            return _keep(self._stores, key, store)

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
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=self._read_timeout,
                max_pool_connections=self._connections,
                tcp_keepalive=True,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        # Waiting for "100 Continue" would cost each stored file a round trip.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return cast("S3Client", client)

    def _make_store(self, bucket: str, region: str, credentials: Credentials) -> S3Store:
        # Imported here: obstore starts threads, and a mount forks before it reads.
        from obstore.store import S3Store

        endpoint = self.endpoint_url or f"https://{bucket}.s3.{region}.amazonaws.com"
        return S3Store(
            bucket,
            config={
                "access_key_id": credentials.access_key_id,
                "secret_access_key": credentials.secret_access_key,
                "session_token": credentials.session_token,
                "region": region,
                "endpoint": endpoint,
                "virtual_hosted_style_request": self.endpoint_url is None,
                "skip_signature": False,
                "request_payer": False,
                "s3_express": False,
            },
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
                "read_timeout": timedelta(seconds=self._read_timeout),
                # Never a deadline for the whole of a transfer that makes progress.
                "timeout": timedelta(days=1),
                "pool_max_idle_per_host": str(self._connections),
                "user_agent": _USER_AGENT,
            },
            retry_config={"max_retries": 0},
        )


def _keep(kept: OrderedDict[_Key, _Client], key: _Key, client: _Client) -> _Client:
    kept[key] = client
    kept.move_to_end(key)
    if len(kept) > _CLIENTS_KEPT:
        kept.popitem(last=False)
    return client
