"""The services of a sandbox over a real S3 server, run in a thread for tests that are not async."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import trio
from botocore.config import Config

from provenafs.sandbox.app import Lifetimes, Urls, serve
from provenafs.sandbox.gateway import GatewayKeys
from provenafs.sandbox.s3_front import running_strict_gateway
from provenafs.sandbox.store import Store

KEYS = GatewayKeys("root-user", "root-password", "service-user", "service-secret")
DEFAULT_LIFETIMES = Lifetimes()
_START_DEADLINE_S = 60
_TOKENS_KEPT_S = 60.0


@dataclass
class RunningServices:
    """A running sandbox without sample datasets, and logins to it."""

    urls: Urls
    database: Path
    s3_endpoint: str
    client: httpx.Client
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    def token(self, user: str) -> str:
        """An access token of a user, renewed long before it ends."""
        token, issued_at = self._tokens.get(user, ("", -math.inf))
        if time.monotonic() - issued_at > _TOKENS_KEPT_S:
            token = self.login(user)["access_token"]
            self._tokens[user] = token, time.monotonic()
        return token

    def login(self, user: str, scope: str = "") -> dict[str, Any]:
        answer = self.client.post(
            f"{self.urls.realm}/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "integration-tests",
                "username": user,
                "password": user,
                "scope": scope,
            },
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def call(self, user: str, method: str, url: str, **options: Any) -> httpx.Response:
        """One request as a user."""
        headers = {"Authorization": f"Bearer {self.token(user)}", **options.pop("headers", {})}
        return self.client.request(method, url, headers=headers, **options)

    def datastore(self, user: str, method: str, path: str, **options: Any) -> httpx.Response:
        return self.call(user, method, self.urls.datastore + path, **options)

    def registry(self, user: str, method: str, path: str, **options: Any) -> httpx.Response:
        return self.call(user, method, self.urls.registry + path, **options)

    def organisation(self) -> str:
        """The handle of the organisation that a sandbox begins with."""
        answer = self.registry("alice", "POST", "/registry/agent/organisation/list", json={})
        return str(answer.json()["items"][0]["id"])

    def person(self, user: str) -> str:
        url = f"{self.urls.auth_api}/link/user/lookup"
        return str(self.call(user, "GET", url).json()["person_id"])

    def collection(self, name: str = "n", **info: Any) -> dict[str, Any]:
        """A minimal valid CollectionFormat, with more of dataset_info as asked."""
        organisation = self.organisation()
        approvals = ("ethics_registration", "ethics_access", "indigenous_knowledge")
        return {
            "associations": {"organisation_id": organisation},
            "approvals": {approval: {} for approval in (*approvals, "export_controls")},
            "dataset_info": {
                "name": name,
                "description": "d",
                "access_info": {},
                "publisher_id": organisation,
                "created_date": {},
                "published_date": {},
                "license": "https://example.org/l",
                **info,
            },
        }

    def mint(self, user: str = "alice", name: str = "n", **info: Any) -> str:
        body = self.collection(name, **info)
        answer = self.datastore(user, "POST", "/register/mint-dataset", json=body)
        assert answer.json()["status"]["success"], answer.text
        return str(answer.json()["handle"])

    def fetch(self, handle: str, user: str = "alice") -> dict[str, Any]:
        path = "/registry/items/fetch-dataset"
        answer = self.datastore(user, "GET", path, params={"handle_id": handle})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def grant(self, handle: str, general: list[str], groups: dict[str, list[str]]) -> None:
        """Replace alice's settings for a dataset of hers."""
        settings = {"owner": "alice", "general": general, "groups": groups}
        path = "/registry/entity/dataset/auth/configuration"
        answer = self.registry("alice", "PUT", path, params={"id": handle}, json=settings)
        assert answer.status_code == 200, answer.text

    def lock(self, handle: str) -> None:
        """Lock a dataset of alice's."""
        body = {"id": handle, "reason": "quiet"}
        answer = self.registry("alice", "PUT", "/registry/entity/dataset/locks/lock", json=body)
        assert answer.status_code == 200, answer.text

    def keys(self, handle: str, access: str, user: str = "alice") -> httpx.Response:
        """What is answered to somebody who asks for keys to "read" or "write"."""
        path = f"/registry/credentials/generate-{access}-access-credentials"
        body = {"dataset_id": handle, "console_session_required": False}
        return self.datastore(user, "POST", path, json=body)

    def s3(self, keys: httpx.Response) -> Any:
        """A boto3 client with the keys of an answer."""
        issued = keys.json()["credentials"]
        return boto3.client(
            "s3",
            endpoint_url=self.s3_endpoint,
            region_name="ap-southeast-2",
            aws_access_key_id=issued["aws_access_key_id"],
            aws_secret_access_key=issued["aws_secret_access_key"],
            aws_session_token=issued["aws_session_token"],
            config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
        )

    def stored_metadata(self, handle: str) -> bytes:
        """The metadata.json in a dataset's folder."""
        where = self.fetch(handle)["item"]["s3"]
        key = where["path"] + "metadata.json"
        client = self.s3(self.keys(handle, "read"))
        return bytes(client.get_object(Bucket=where["bucket_name"], Key=key)["Body"].read())


@contextmanager
def running_services(
    folder: Path, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> Iterator[RunningServices]:
    """Services and S3 server over a fresh folder, ended at the end."""
    started: list[tuple[Urls, str, trio.CancelScope, trio.lowlevel.TrioToken]] = []
    failures: list[BaseException] = []
    ready = threading.Event()
    database = folder / "services.db"

    async def run() -> None:
        with closing(Store(database)) as store:
            async with (
                running_strict_gateway(folder / "s3", _free_port(), KEYS) as gateway,
                trio.open_nursery() as nursery,
            ):
                urls = await nursery.start(partial(serve, store, gateway, lifetimes=lifetimes))
                token = trio.lowlevel.current_trio_token()
                started.append((urls, gateway.endpoint, nursery.cancel_scope, token))
                ready.set()

    def work() -> None:
        try:
            trio.run(run)
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(_START_DEADLINE_S), "the sandbox did not start"
    if failures:
        raise failures[0]
    urls, endpoint, scope, token = started[0]
    try:
        with httpx.Client(timeout=30, trust_env=False) as client:
            yield RunningServices(urls, database, endpoint, client)
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(_START_DEADLINE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
