"""The sandbox as a user of the official client sees it, and what every row needs."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from provenaclient import Config, ProvenaClient
from provenaclient.auth import OfflineFlow
from provenaclient.modules.registry import DatasetClient
from provenaclient.utils import exceptions as refusals
from provenaclient.utils.config import APIOverrides
from ProvenaInterfaces.DataStoreAPI import CredentialsRequest, ReleaseApprovalRequest
from ProvenaInterfaces.RegistryAPI import LockChangeRequest, NoFilterSubtypeListRequest
from ProvenaInterfaces.RegistryModels import AccessSettings, CollectionFormat
from pydantic import ValidationError

Row = Callable[["Sandbox"], Awaitable[None]]


ROWS: dict[str, Row] = {}


FIVE_ROLES = ["metadata-read", "metadata-write", "admin", "dataset-data-read", "dataset-data-write"]


def row(function: Row) -> Row:
    ROWS[function.__name__] = function
    return function


class Sandbox:
    """The sandbox as the client's user sees it."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.urls, self.offline = setup["urls"], setup["offline_tokens"]
        self.organisation, self.person = setup["organisation"], setup["persons"]["carol"]
        self.s3_endpoint = setup["s3_endpoint"]
        self.alice, self.bob, self.carol, self.admin = map(
            self.client, ("alice", "bob", "carol", "admin")
        )

    def config(self, **overrides: str) -> Config:
        urls = {
            "datastore_api_endpoint_override": self.urls["datastore"],
            "registry_api_endpoint_override": self.urls["registry"],
            "auth_api_endpoint_override": self.urls["auth_api"],
            "search_api_endpoint_override": self.urls["search"],
            "jobs_service_api_endpoint_override": self.urls["job_api"],
            "keycloak_endpoint_override": self.urls["realm"],
        }
        return Config(
            domain="sandbox.local",
            realm_name="sandbox",
            api_overrides=APIOverrides(**{**urls, **overrides}),
        )

    def client(self, user: str, **overrides: str) -> ProvenaClient:
        config = self.config(**overrides)
        auth = OfflineFlow(
            config=config, client_id="integration-tests", offline_token=self.offline[user]
        )
        return ProvenaClient(auth=auth, config=config)

    def reviewing(self, user: str) -> Any:
        """The review calls, which the client sends to the wrong host, sent to the right one."""
        overridden = self.client(user, auth_api_endpoint_override=self.urls["datastore"])
        return overridden.datastore.review

    def collection(self, name: str = "n", **info: Any) -> CollectionFormat:
        approvals = ("ethics_registration", "ethics_access", "indigenous_knowledge")
        return CollectionFormat.model_validate(
            {
                "associations": {"organisation_id": self.organisation},
                "approvals": {approval: {} for approval in (*approvals, "export_controls")},
                "dataset_info": {
                    "name": name,
                    "description": "d",
                    "access_info": {},
                    "publisher_id": self.organisation,
                    "created_date": {},
                    "published_date": {},
                    "license": "https://example.org/l",
                    **info,
                },
            }
        )

    async def mint(self, name: str = "n", **info: Any) -> str:
        answer = await self.alice.datastore.mint_dataset(self.collection(name, **info))
        return str(answer.handle)

    async def item(self, handle: str) -> Any:
        return (await self.alice.datastore.fetch_dataset(handle)).item

    def registry(self, client: ProvenaClient) -> DatasetClient:
        """The dataset part of the registry, which the client declares and never makes."""
        return DatasetClient(
            auth=client._auth, config=client._config, registry_client=client._registry_client
        )

    async def s3(self, handle: str, access: str) -> Any:
        """A boto3 client with keys for one dataset."""
        issue = getattr(self.alice.datastore, f"generate_{access}_access_credentials")
        keys = (await issue(credentials_request(handle))).credentials
        return boto3.client(
            "s3",
            endpoint_url=self.s3_endpoint,
            region_name="us-east-1",
            aws_access_key_id=keys.aws_access_key_id,
            aws_secret_access_key=keys.aws_secret_access_key,
            aws_session_token=keys.aws_session_token,
        )

    async def put(self, handle: str, *names: str) -> None:
        client, where = await self.s3(handle, "write"), (await self.item(handle)).s3
        for name in names:
            body = b"" if name.endswith("/") else name.encode()
            client.put_object(Bucket=where.bucket_name, Key=where.path + name, Body=body)

    async def keys(self, handle: str) -> list[str]:
        """The names of all objects of a dataset."""
        client, where = await self.s3(handle, "read"), (await self.item(handle)).s3
        listed = client.list_objects_v2(Bucket=where.bucket_name, Prefix=where.path)
        return sorted(found["Key"].removeprefix(where.path) for found in listed["Contents"])

    async def metadata(self, handle: str) -> Any:
        client, where = await self.s3(handle, "read"), (await self.item(handle)).s3
        found = client.get_object(Bucket=where.bucket_name, Key=where.path + "metadata.json")
        return json.loads(found["Body"].read())

    def raw(
        self, user_client: ProvenaClient, url: str, body: Any = None, method: str | None = None
    ) -> Any:
        """A request without the client's models."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, method=method)
        request.add_header("Authorization", f"Bearer {user_client._auth.get_token()}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def raises(kind: type[BaseException], code: int | None = None, words: str = "") -> Iterator[None]:
    """Exactly this exception class, not one derived from it."""
    try:
        yield
    except Exception as error:
        assert type(error) is kind, f"{type(error)!r} {error}"
        assert code is None or error.error_code == code, str(error)
        assert words in str(error), str(error)
        return
    raise AssertionError(f"{kind.__name__} was not raised")


@contextlib.contextmanager
def unparsable() -> Iterator[None]:
    """What the client cannot read because its own model is another."""
    try:
        yield
    except Exception as error:
        assert type(error) is Exception, repr(error)
        assert isinstance(error.__cause__, ValidationError), repr(error.__cause__)
        return
    raise AssertionError("the client could read the answer")


BAD_REQUEST, AUTH = refusals.BadRequestException, refusals.AuthException


SERVER, NOT_FOUND = refusals.ServerException, refusals.NotFoundException


def credentials_request(handle: str) -> CredentialsRequest:
    return CredentialsRequest(dataset_id=handle, console_session_required=False)


def plain(collection: CollectionFormat) -> Any:
    return collection.model_dump(mode="json", exclude_none=True)


def download(url: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers["Content-Disposition"], answer.read()


def san(handle: str) -> str:
    return handle.replace(".", "-").replace("/", "-")


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def listing(**fields: Any) -> NoFilterSubtypeListRequest:
    return NoFilterSubtypeListRequest(**fields)


async def request_release(sandbox: Sandbox, handle: str) -> Any:
    request = ReleaseApprovalRequest(dataset_id=handle, approver_id=sandbox.person, notes="please")
    return await sandbox.reviewing("alice").dataset_approval_request(request)


def tree(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


async def lock(sandbox: Sandbox, handle: str) -> None:
    request = LockChangeRequest(id=handle, reason="r")
    await sandbox.registry(sandbox.alice).lock_resource(request)


async def grant(
    sandbox: Sandbox, handle: str, general: list[str], groups: dict[str, list[str]] | None = None
) -> None:
    settings = AccessSettings(owner="alice", general=general, groups=groups or {})
    await sandbox.registry(sandbox.alice).modify_auth_configuration(handle, settings)
