"""What the official client must see of the sandbox; run in that client's own environment.

Reads where to go from standard input as JSON and prints, for each row, null or a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
import traceback
import urllib.parse
import urllib.request
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from cloudpathlib.exceptions import OverwriteNewerCloudError
from provenaclient import Config, ProvenaClient
from provenaclient.auth import DeviceFlow, OfflineFlow
from provenaclient.models.datastore import RevertMetadata
from provenaclient.modules.registry import DatasetClient
from provenaclient.utils import exceptions as refusals
from provenaclient.utils.config import APIOverrides
from ProvenaInterfaces.DataStoreAPI import (
    ActionApprovalRequest,
    CredentialsRequest,
    PresignedURLRequest,
    ReleaseApprovalRequest,
)
from ProvenaInterfaces.RegistryAPI import (
    GeneralListRequest,
    ItemRevertRequest,
    LockChangeRequest,
    NoFilterSubtypeListRequest,
    SortOptions,
    VersionRequest,
)
from ProvenaInterfaces.RegistryModels import AccessSettings, CollectionFormat, ItemSubType
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


# ---- 1. auth


@row
async def auth_offline_flow(sandbox: Sandbox) -> None:
    assert sandbox.alice._auth.get_token().count(".") == 2
    config = sandbox.config()
    words = "Failed to validate new tokens generated from offline token file."
    with raises(Exception, words=words):
        OfflineFlow(config=config, client_id="integration-tests", offline_token="bad")


@row
async def auth_device_flow(sandbox: Sandbox) -> None:
    opened: list[str] = []

    def approve(url: str) -> bool:
        opened.append(url)
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["user_code"][0]
        form = {"user_code": code, "username": "alice", "password": "alice"}
        page = url.partition("?")[0]
        with urllib.request.urlopen(page, urllib.parse.urlencode(form).encode()) as answer:
            return answer.status == 200

    original, webbrowser.open = webbrowser.open, approve
    try:
        with scratch_directory() as folder:
            first = DeviceFlow(config=sandbox.config(), client_id="client-tools")
            tokens = json.loads((folder / ".tokens.json").read_text())
            assert set(tokens) == {"access_token", "refresh_token"}
            assert len(opened) == 1 and opened[0].startswith(sandbox.urls["realm"] + "/device?")
            second = DeviceFlow(config=sandbox.config(), client_id="client-tools")
            assert len(opened) == 1
            first.refresh_tokens()
            assert json.loads((folder / ".tokens.json").read_text()) != tokens
            config = sandbox.config()
            client = ProvenaClient(auth=second, config=config)
            assert (await client.datastore.list_datasets(listing())).status.success
            first.force_refresh()
            assert len(opened) == 2
    finally:
        webbrowser.open = original


@row
async def auth_device_refused(sandbox: Sandbox) -> None:
    def deny(url: str) -> bool:
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["user_code"][0]
        form = {"user_code": code, "username": "bob", "password": "bob", "decision": "deny"}
        page = url.partition("?")[0]
        with urllib.request.urlopen(page, urllib.parse.urlencode(form).encode()) as answer:
            return answer.status == 200

    original, webbrowser.open = webbrowser.open, deny
    try:
        with scratch_directory():
            flow = DeviceFlow(config=sandbox.config(), client_id="client-tools")
            try:
                flow.get_token()
            except Exception:
                return
            raise AssertionError("a refused device got a token")
    finally:
        webbrowser.open = original


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


# ---- 2. data store


def listing(**fields: Any) -> NoFilterSubtypeListRequest:
    return NoFilterSubtypeListRequest(**fields)


@row
async def datastore_01_health(sandbox: Sandbox) -> None:
    answer = await sandbox.alice.datastore.get_health_check()
    assert answer.message == "Health check successful."


@row
async def datastore_02_mint(sandbox: Sandbox) -> None:
    collection = sandbox.collection(keywords=["reef", "é"])
    answer = await sandbox.alice.datastore.mint_dataset(collection)
    assert answer.status.success and re.fullmatch(r"\S+/\d+", answer.handle)
    assert answer.s3_location.path == f"datasets/{san(answer.handle)}/"
    assert answer.register_create_activity_session_id
    assert await sandbox.keys(answer.handle) == ["metadata.json"]
    assert await sandbox.metadata(answer.handle) == plain(collection)


@row
async def datastore_02_mint_refused(sandbox: Sandbox) -> None:
    mint = sandbox.alice.datastore.mint_dataset
    words = "Status object from API indicated failure"
    unknown = sandbox.collection()
    unknown.associations.organisation_id = "10378.1/9"
    contradicting = sandbox.collection()
    contradicting.approvals.export_controls.obtained = True
    for refused in (unknown, contradicting, sandbox.collection(version="1")):
        with raises(Exception, words=words):
            await mint(refused)
    with raises(AUTH):
        await sandbox.bob.datastore.mint_dataset(sandbox.collection())


@row
async def datastore_02_mint_unlinked(sandbox: Sandbox) -> None:
    base = sandbox.urls["auth_api"] + "/link/admin"
    person = sandbox.raw(sandbox.admin, f"{base}/lookup?username=admin")["person_id"]
    sandbox.raw(sandbox.admin, f"{base}/clear?username=admin", method="DELETE")
    try:
        with raises(SERVER, 500):
            await sandbox.admin.datastore.mint_dataset(sandbox.collection())
    finally:
        link = {"username": "admin", "person_id": person}
        assert sandbox.raw(sandbox.admin, f"{base}/assign", link) == {}


@row
async def datastore_03_fetch(sandbox: Sandbox) -> None:
    minted = await sandbox.alice.datastore.mint_dataset(sandbox.collection())
    handle = minted.handle
    answer = await sandbox.alice.datastore.fetch_dataset(handle)
    item = answer.item
    assert (item.id, answer.roles, answer.locked) == (handle, FIVE_ROLES, False)
    assert item.history[0].reason == "Initial record creation"
    assert item.versioning_info.version == 1
    assert item.release_status.value == "NOT_RELEASED"
    session = minted.register_create_activity_session_id
    assert item.workflow_links.create_activity_workflow_id == session
    for bad in ("1234567890123", ""):
        with raises(BAD_REQUEST):
            await sandbox.alice.datastore.fetch_dataset(bad)
    await grant(sandbox, handle, [])
    with raises(AUTH):
        await sandbox.bob.datastore.fetch_dataset(handle)


@row
async def datastore_04_validate(sandbox: Sandbox) -> None:
    collection = sandbox.collection()
    with unparsable():
        await sandbox.alice.datastore.validate_dataset_metadata(collection)
    url = sandbox.urls["datastore"] + "/metadata/validate-metadata"
    answer = sandbox.raw(sandbox.alice, url, plain(collection))
    assert answer["success"] is True and set(answer) == {"success", "details"}


@row
async def datastore_05_update(sandbox: Sandbox) -> None:
    handle, update = await sandbox.mint(), sandbox.alice.datastore.update_dataset_metadata
    before, changed = await sandbox.item(handle), sandbox.collection("other")
    answer = await update(handle, "why", changed)
    assert (answer.handle, answer.s3_location) == (handle, before.s3)
    item = await sandbox.item(handle)
    assert item.display_name == "other"
    assert item.created_timestamp == before.created_timestamp
    assert item.updated_timestamp >= before.updated_timestamp
    assert (item.history[0].id, item.history[0].reason) == (1, "why")
    assert await sandbox.metadata(handle) == plain(changed)
    late, early = ({"relevant": True, "value": f"20{year}-01-01"} for year in (20, 10))
    with raises(BAD_REQUEST):
        await update(handle, "r", sandbox.collection(created_date=late, published_date=early))
    await lock(sandbox, handle)
    with raises(AUTH):
        await update(handle, "r", changed)


@row
async def datastore_06_revert(sandbox: Sandbox) -> None:
    handle, original = await sandbox.mint("first"), plain(sandbox.collection("first"))
    store = sandbox.alice.datastore
    await store.update_dataset_metadata(handle, "r", sandbox.collection("second"))
    answer = await store.revert_dataset_metadata(
        RevertMetadata(id=handle, history_id=0, reason="r")
    )
    assert answer.status.success
    item = await sandbox.item(handle)
    assert plain(item.collection_format) == original
    expected = (2, "Reverting dataset to history id 0. Reason: r.")
    assert (item.history[0].id, item.history[0].reason) == expected
    assert await sandbox.metadata(handle) == original
    with raises(BAD_REQUEST):
        await store.revert_dataset_metadata(RevertMetadata(id=handle, history_id=99, reason="r"))
    await lock(sandbox, handle)
    with raises(AUTH):
        await store.revert_dataset_metadata(RevertMetadata(id=handle, history_id=0, reason="r"))


@row
async def datastore_07_version(sandbox: Sandbox) -> None:
    old, store = await sandbox.mint(user_metadata={"a": "b"}), sandbox.alice.datastore
    await sandbox.put(old, "a.txt")
    await lock(sandbox, old)
    answer = await store.version_dataset(VersionRequest(id=old, reason="r"))
    new = answer.new_version_id
    item, before = await sandbox.item(new), await sandbox.item(old)
    assert new != old
    assert (item.versioning_info.version, item.versioning_info.previous_version) == (2, old)
    assert [entry.id for entry in item.history] == [1, 0]
    assert item.s3.path == f"datasets/{san(new)}/"
    assert await sandbox.keys(new) == ["metadata.json"]
    assert (item.release_status.value, item.owner_username) == ("NOT_RELEASED", "alice")
    assert item.workflow_links.version_activity_workflow_id == answer.version_job_session_id
    assert item.user_metadata is None
    assert before.versioning_info.next_version == new
    assert await sandbox.keys(old) == ["a.txt", "metadata.json"]
    with raises(BAD_REQUEST):
        await store.version_dataset(VersionRequest(id=old, reason="r"))
    with raises(AUTH):
        request = VersionRequest(id=new, reason="r")
        await sandbox.carol.datastore.version_dataset(request)


@row
async def datastore_08_list(sandbox: Sandbox) -> None:
    await sandbox.mint()
    answer = await sandbox.alice.datastore.list_datasets(listing())
    times = [item.updated_timestamp for item in answer.items]
    assert times == sorted(times, reverse=True)
    assert answer.total_item_count == len(answer.items)


@row
async def datastore_09_sorts(sandbox: Sandbox) -> None:
    for name in ("b", "B", "ä", "a"):
        await sandbox.mint(name)
    by_name = {"sort_type": "DISPLAY_NAME", "ascending": True}
    answer = await sandbox.alice.datastore.list_datasets(listing(sort_by=by_name, page_size=500))
    names = [item.display_name for item in answer.items]
    assert names == sorted(names, key=str.encode)
    by_time = {"sort_type": "CREATED_TIME", "ascending": True}
    answer = await sandbox.alice.datastore.list_datasets(listing(sort_by=by_time, page_size=500))
    times = [item.created_timestamp for item in answer.items]
    assert times == sorted(times)
    with raises(SERVER, 500):
        bad = listing(sort_by={"sort_type": "RELEASE_TIMESTAMP"})
        await sandbox.alice.datastore.list_datasets(bad)


@row
async def datastore_10_pages(sandbox: Sandbox) -> None:
    for _ in range(4):
        handle = await sandbox.mint()
    store = sandbox.alice.datastore
    first = await store.list_datasets(listing(page_size=2))
    second = await store.list_datasets(listing(page_size=2, pagination_key=first.pagination_key))
    assert len(first.items) == len(second.items) == 2
    assert not {item.id for item in first.items} & {item.id for item in second.items}
    assert set(first.pagination_key) == {"id", "item_subtype", "updated_timestamp"}
    total = len(await store.list_all_datasets())
    full = await store.list_datasets(listing(page_size=total))
    assert len(full.items) == total and full.pagination_key is not None
    empty = await store.list_datasets(listing(page_size=total, pagination_key=full.pagination_key))
    assert (empty.items, empty.pagination_key) == ([], None)
    await grant(sandbox, handle, [])
    bobs = await sandbox.bob.datastore.list_datasets(listing(page_size=2))
    assert len(bobs.items) < 2 and bobs.not_authorised_count > 0
    assert bobs.pagination_key is not None


@row
async def datastore_11_list_all(sandbox: Sandbox) -> None:
    handles = {await sandbox.mint() for _ in range(3)}
    by_name = SortOptions(sort_type="DISPLAY_NAME", ascending=True)
    for sort in (None, by_name):
        found = [item.id for item in await sandbox.alice.datastore.list_all_datasets(sort)]
        assert handles <= set(found) and len(found) == len(set(found))


@row
async def datastore_12_for_all(sandbox: Sandbox) -> None:
    for _ in range(4):
        await sandbox.mint()
    request = listing(page_size=2)
    every: AsyncIterator[Any] = sandbox.alice.datastore.for_all_datasets(request, total_limit=3)
    assert len({item.id async for item in every}) == 3
    assert request.pagination_key is not None


@row
async def datastore_13_presigned_url(sandbox: Sandbox) -> None:
    handle = await sandbox.mint()

    async def presign(client: ProvenaClient, path: str) -> str:
        request = PresignedURLRequest(dataset_id=handle, file_path=path)
        return (await client.datastore.generate_dataset_presigned_url(request)).presigned_url

    disposition, content = download(await presign(sandbox.alice, "metadata.json"))
    assert disposition.startswith("attachment")
    assert json.loads(content) == await sandbox.metadata(handle)
    for bad in ("a..b", "missing"):
        with raises(BAD_REQUEST):
            await presign(sandbox.alice, bad)
    await grant(sandbox, handle, [], {"field-team": ["admin"]})
    with raises(AUTH):
        await presign(sandbox.carol, "metadata.json")


@row
async def datastore_14_read_credentials(sandbox: Sandbox) -> None:
    handle, store = await sandbox.mint(), sandbox.alice.datastore
    answer = await store.generate_read_access_credentials(credentials_request(handle))
    keys = answer.credentials
    assert keys.aws_access_key_id and keys.aws_secret_access_key and keys.aws_session_token
    left = keys.expiry - datetime.now(UTC)
    assert timedelta(hours=7, minutes=50) < left <= timedelta(hours=8)
    assert answer.console_session_url is None
    await grant(sandbox, handle, [])
    with raises(AUTH):
        request = credentials_request(handle)
        await sandbox.bob.datastore.generate_read_access_credentials(request)
    with raises(BAD_REQUEST):
        await store.generate_read_access_credentials(credentials_request("10378.1/9"))


@row
async def datastore_15_write_credentials(sandbox: Sandbox) -> None:
    handle, request = await sandbox.mint(), credentials_request
    issue = sandbox.alice.datastore.generate_write_access_credentials
    assert (await issue(request(handle))).credentials.aws_session_token
    for other in (sandbox.bob, sandbox.carol):
        with raises(AUTH):
            await other.datastore.generate_write_access_credentials(request(handle))
    await lock(sandbox, handle)
    with raises(AUTH):
        await issue(request(handle))
    pending = await sandbox.mint()
    await request_release(sandbox, pending)
    with raises(SERVER, 403):
        await issue(request(pending))


@row
async def datastore_16_search(sandbox: Sandbox) -> None:
    seen, hidden = await sandbox.mint("wobbegong"), await sandbox.mint("wobbegong hidden")
    await grant(sandbox, hidden, [])
    found = await sandbox.bob.datastore.search_datasets("wobbegong")
    assert [loaded.item.id for loaded in found.items] == [seen]
    assert found.items[0].score > 0
    assert [refused.id for refused in found.auth_errors] == [hidden]


@row
async def datastore_17_interactive(sandbox: Sandbox) -> None:
    handle = await sandbox.mint()
    dataset = await sandbox.alice.datastore.interactive_dataset(handle)
    assert (await dataset.fetch_dataset()).item.id == handle
    assert (await dataset.revert_dataset_metadata(0, "r")).status.success
    for issue in (
        dataset.generate_read_access_credentials,
        dataset.generate_write_access_credentials,
    ):
        assert (await issue(console_session_required=False)).credentials.aws_access_key_id
    with scratch_directory() as folder:
        (folder / "up").mkdir()
        (folder / "up" / "x.txt").write_text("x")
        await dataset.upload_all_files(str(folder / "up"))
        await dataset.download_all_files(str(folder / "down"))
        assert (folder / "down" / "x.txt").read_text() == "x"
        await dataset.download_specific_file("x.txt", str(folder / "one"))
        assert (folder / "one" / "x.txt").read_text() == "x"
    assert (await dataset.version("r")).new_version_id != handle


# ---- 3. review


async def request_release(sandbox: Sandbox, handle: str) -> Any:
    request = ReleaseApprovalRequest(dataset_id=handle, approver_id=sandbox.person, notes="please")
    return await sandbox.reviewing("alice").dataset_approval_request(request)


def action(handle: str, approve: bool) -> ActionApprovalRequest:
    return ActionApprovalRequest(dataset_id=handle, approve=approve, notes="n")


@row
async def review_at_the_wrong_host(sandbox: Sandbox) -> None:
    review, handle = sandbox.admin.datastore.review, await sandbox.mint()
    request = ReleaseApprovalRequest(dataset_id=handle, approver_id=sandbox.person, notes="please")
    for call in (
        lambda: review.add_dataset_reviewer(sandbox.person),
        lambda: review.delete_dataset_reviewer(sandbox.person),
        lambda: review.dataset_approval_request(request),
        lambda: review.action_approval_request(action(handle, True)),
    ):
        with raises(NOT_FOUND):
            await call()


@row
async def review_states(sandbox: Sandbox) -> None:
    admins, handle = sandbox.reviewing("admin"), await sandbox.mint()
    with raises(refusals.HTTPValidationException):
        await admins.add_dataset_reviewer("somebody")
    await admins.delete_dataset_reviewer("somebody")
    await request_release(sandbox, handle)
    item = await sandbox.item(handle)
    assert (item.release_status.value, item.release_approver) == ("PENDING", sandbox.person)
    assert item.release_timestamp and item.release_history[-1].action.value == "REQUEST"
    assert len(item.history) == 1
    with raises(BAD_REQUEST):
        await request_release(sandbox, handle)
    with raises(AUTH):
        await sandbox.reviewing("bob").action_approval_request(action(handle, True))
    carols = sandbox.reviewing("carol")
    await carols.action_approval_request(action(handle, False))
    assert (await sandbox.item(handle)).release_status.value == "NOT_RELEASED"
    issue = sandbox.alice.datastore.generate_write_access_credentials
    await issue(credentials_request(handle))
    await request_release(sandbox, handle)
    assert (await carols.action_approval_request(action(handle, True))).approved is True
    item = await sandbox.item(handle)
    assert item.release_status.value == "RELEASED"
    assert item.release_history[-1].action.value == "APPROVE"
    assert item.release_history[-1].requester is None
    with raises(SERVER, 403):
        await issue(credentials_request(handle))
    changed = sandbox.collection("after release")
    await sandbox.alice.datastore.update_dataset_metadata(handle, "r", changed)
    request = VersionRequest(id=handle, reason="r")
    assert await sandbox.alice.datastore.version_dataset(request)


# ---- 4. files


async def with_files(sandbox: Sandbox, *more: str) -> str:
    handle = await sandbox.mint()
    await sandbox.put(handle, "a.txt", "nested/b.txt", "nested/deep/c.txt", *more)
    return handle


def tree(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


@row
async def io_download_all(sandbox: Sandbox) -> None:
    handle, files = await with_files(sandbox, "mk/"), sandbox.alice.datastore.io
    with scratch_directory() as folder:
        await files.download_all_files(str(folder / "d"), handle)
        expected = ["a.txt", "metadata.json", "nested/b.txt", "nested/deep/c.txt"]
        assert tree(folder / "d") == expected
        assert (folder / "d" / "nested" / "deep" / "c.txt").read_text() == "nested/deep/c.txt"
        assert (folder / "d" / "mk").is_dir()
        with raises(FileNotFoundError):
            await files.download_all_files(str(folder / "no" / "parent"), handle)


@row
async def io_list_all(sandbox: Sandbox) -> None:
    handle = await with_files(sandbox)
    root = (await sandbox.item(handle)).s3.s3_uri
    found = await sandbox.alice.datastore.io.list_all_files(handle)
    names = sorted(str(path).removeprefix(root).rstrip("/") for path in found)
    files = ["a.txt", "metadata.json", "nested/b.txt", "nested/deep/c.txt"]
    assert names == sorted([*files, "nested", "nested/deep"])


@row
async def io_download_specific(sandbox: Sandbox) -> None:
    handle, files = await with_files(sandbox), sandbox.alice.datastore.io
    for asked, expected in {
        "a.txt": ["a.txt"],
        "nested": ["nested/b.txt", "nested/deep/c.txt"],
        "nested/": ["b.txt", "deep/c.txt"],
        "nested/deep": ["deep/c.txt"],
    }.items():
        with scratch_directory() as folder:
            # Only for a single file does the client make the parents too.
            destination = folder / "x" / "d" if asked == "a.txt" else folder / "d"
            await files.download_specific_file(handle, asked, str(destination))
            assert tree(destination) == expected, asked
    with scratch_directory() as folder, raises(FileNotFoundError):
        await files.download_specific_file(handle, "nope", str(folder))


@row
async def io_upload(sandbox: Sandbox) -> None:
    handle, files = await sandbox.mint(), sandbox.alice.datastore.io
    with scratch_directory() as folder:
        (folder / "sub" / "empty").mkdir(parents=True)
        (folder / "new.txt").write_text("1")
        (folder / "sub" / "s.csv").write_text("1,2")
        await files.upload_all_files(str(folder), handle)
        assert await sandbox.keys(handle) == ["metadata.json", "new.txt", "sub/s.csv"]
        later, earlier = time.time() + 3600, time.time() - 3600
        for name in ("new.txt", "sub/s.csv"):
            os.utime(folder / name, (later, later))
        await files.upload_all_files(str(folder), handle)
        os.utime(folder / "sub" / "s.csv", (earlier, earlier))
        with raises(OverwriteNewerCloudError):
            await files.upload_all_files(str(folder), handle)
    with scratch_directory() as folder:
        (folder / "one.bin").write_bytes(b"x" * 9_000_000)
        await files.upload_all_files(str(folder / "one.bin"), handle)
    assert "one.bin" in await sandbox.keys(handle)


@row
async def io_upload_refused(sandbox: Sandbox) -> None:
    locked, pending = await sandbox.mint(), await sandbox.mint()
    files = sandbox.alice.datastore.io
    await lock(sandbox, locked)
    await request_release(sandbox, pending)
    with scratch_directory() as folder:
        (folder / "new.txt").write_text("1")
        with raises(AUTH):
            await files.upload_all_files(str(folder), locked)
        with raises(SERVER, 403):
            await files.upload_all_files(str(folder), pending)


@row
async def io_policy(sandbox: Sandbox) -> None:
    handle, other = await sandbox.mint(), await sandbox.mint()
    reader, writer = await sandbox.s3(handle, "read"), await sandbox.s3(handle, "write")
    mine, theirs = (await sandbox.item(handle)).s3, (await sandbox.item(other)).s3
    bucket, key = mine.bucket_name, mine.path + "a"
    writer.put_object(Bucket=bucket, Key=key, Body=b"a")
    assert reader.list_objects_v2(Bucket=bucket, Prefix=theirs.path)["KeyCount"] == 1
    writer.copy_object(Bucket=bucket, Key=key + "2", CopySource={"Bucket": bucket, "Key": key})
    upload = writer.create_multipart_upload(Bucket=bucket, Key=key + "3")["UploadId"]
    part = {"Bucket": bucket, "Key": key + "3", "UploadId": upload}
    sent = writer.upload_part(**part, PartNumber=1, Body=b"x")
    parts = [{"ETag": sent["ETag"], "PartNumber": 1}]
    theirs_key = theirs.path + "metadata.json"
    for forbidden in (
        lambda: reader.get_object(Bucket=bucket, Key=theirs_key),
        lambda: reader.put_object(Bucket=bucket, Key=key, Body=b"b"),
        lambda: writer.list_parts(**part),
        lambda: writer.get_bucket_location(Bucket=bucket),
        # The gateway has neither of these at all and says so.
        lambda: writer.get_bucket_versioning(Bucket=bucket),
        lambda: writer.put_object_acl(Bucket=bucket, Key=key, ACL="public-read"),
        lambda: writer.copy_object(
            Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": theirs_key}
        ),
    ):
        try:
            forbidden()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code in ("AccessDenied", "NotImplemented"), error
        else:
            raise AssertionError("a forbidden call was allowed")
    writer.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    upload = writer.create_multipart_upload(Bucket=bucket, Key=key + "4")["UploadId"]
    writer.abort_multipart_upload(Bucket=bucket, Key=key + "4", UploadId=upload)
    try:
        reader.head_object(Bucket=bucket, Key=mine.path + "missing")
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    else:
        raise AssertionError("a missing object was found")


# ---- 5. registry


async def lock(sandbox: Sandbox, handle: str) -> None:
    request = LockChangeRequest(id=handle, reason="r")
    await sandbox.registry(sandbox.alice).lock_resource(request)


async def grant(
    sandbox: Sandbox, handle: str, general: list[str], groups: dict[str, list[str]] | None = None
) -> None:
    settings = AccessSettings(owner="alice", general=general, groups=groups or {})
    await sandbox.registry(sandbox.alice).modify_auth_configuration(handle, settings)


@row
async def registry_dataset_is_never_made(sandbox: Sandbox) -> None:
    with raises(AttributeError):
        sandbox.alice.registry.dataset.fetch("x")


@row
async def registry_reading(sandbox: Sandbox) -> None:
    handle, registry = await sandbox.mint(), sandbox.registry(sandbox.alice)
    answer = await registry.fetch(handle)
    assert (answer.item.id, answer.roles, answer.locked) == (handle, FIVE_ROLES, False)
    assert answer.item_is_seed is False
    with raises(Exception, words="indicated failure"):
        await registry.fetch("10378.1/9")
    listed = await registry.list_items(GeneralListRequest())
    assert handle in [item.id for item in listed.items]
    domain = answer.item.history[0].item
    assert (await registry.validate_item(domain)).status.success
    domain.collection_format.associations.organisation_id = "10378.1/9"
    with raises(Exception, words="indicated failure"):
        await registry.validate_item(domain)
    assert (await registry.get_schema()).json_schema["properties"]


@row
async def registry_access(sandbox: Sandbox) -> None:
    handle, registry = await sandbox.mint(), sandbox.registry(sandbox.alice)
    bobs = sandbox.registry(sandbox.bob)
    assert (await registry.evaluate_auth_access(handle)).roles == FIVE_ROLES
    roles = (await bobs.evaluate_auth_access(handle)).roles
    assert set(roles) == {"metadata-read", "dataset-data-read"}
    with raises(BAD_REQUEST):
        await registry.evaluate_auth_access("10378.1/9")
    settings = await registry.get_auth_configuration(handle)
    assert (settings.owner, settings.groups) == ("alice", {})
    with raises(AUTH):
        await bobs.get_auth_configuration(handle)
    await grant(sandbox, handle, ["metadata-read"])
    assert (await bobs.evaluate_auth_access(handle)).roles == ["metadata-read"]
    for bad in (
        AccessSettings(owner="bob", general=[], groups={}),
        AccessSettings(owner="alice", general=["everything"], groups={}),
    ):
        with raises(BAD_REQUEST):
            await registry.modify_auth_configuration(handle, bad)
    named = [role.role_name for role in (await registry.get_auth_roles()).roles]
    assert named == FIVE_ROLES


@row
async def registry_locks(sandbox: Sandbox) -> None:
    handle, registry = await sandbox.mint(), sandbox.registry(sandbox.alice)
    request = LockChangeRequest(id=handle, reason="r")
    with raises(AUTH):
        await sandbox.registry(sandbox.bob).lock_resource(request)
    for change, locked in ((registry.lock_resource, True), (registry.unlock_resource, False)):
        await change(request)
        assert (await sandbox.alice.datastore.fetch_dataset(handle)).locked is locked
        with raises(BAD_REQUEST):
            await change(request)
    history = (await registry.get_lock_history(handle)).history
    assert [event.action_type.value for event in history] == ["LOCK", "UNLOCK"]
    assert history[0].username == "alice" and history[0].email and history[0].timestamp
    with unparsable():
        await registry.get_lock_status(handle)
    url = f"{sandbox.urls['registry']}/registry/entity/dataset/locks/locked?id={handle}"
    assert sandbox.raw(sandbox.alice, url) == {"locked": False}
    with raises(NOT_FOUND):
        revert = ItemRevertRequest(id=handle, history_id=0, reason="r")
        await registry.revert_item(revert)


@row
async def registry_deleting(sandbox: Sandbox) -> None:
    handle, admins = await sandbox.mint(), sandbox.registry(sandbox.admin)
    reader, where = await sandbox.s3(handle, "read"), (await sandbox.item(handle)).s3
    with raises(AUTH):
        await sandbox.registry(sandbox.alice).admin_delete(handle)
    await lock(sandbox, handle)
    with raises(AUTH):
        await admins.admin_delete(handle)
    await admins.unlock_resource(LockChangeRequest(id=handle, reason="r"))
    assert (await admins.admin_delete(handle)).status.success
    with raises(BAD_REQUEST):
        await sandbox.alice.datastore.fetch_dataset(handle)
    found = reader.list_objects_v2(Bucket=where.bucket_name, Prefix=where.path)
    assert found["KeyCount"] == 1
    with raises(BAD_REQUEST):
        await admins.admin_delete(handle)


@row
async def registry_general(sandbox: Sandbox) -> None:
    handle, registry = await sandbox.mint(), sandbox.alice.registry
    item = (await registry.general_fetch_item(handle)).item
    assert item["universal_partition_key"] == "OK" and None not in item.values()
    listed = await registry.list_general_registry_items(GeneralListRequest())
    assert listed.total_item_count == len(listed.items) and listed.pagination_key
    with unparsable():
        await registry.get_current_provena_version()
    assert (await registry.get_health_check()).message == "Health check successful."


@row
async def jobs_after_minting(sandbox: Sandbox) -> None:
    minted = await sandbox.alice.datastore.mint_dataset(sandbox.collection())
    jobs = sandbox.alice.job_api
    job = await jobs.await_successful_job_completion(minted.register_create_activity_session_id)
    lodged = await jobs.await_successful_job_completion(job.result["lodge_session_id"])
    assert lodged.result == {}
    activity = await sandbox.alice.registry.create_activity.fetch(
        job.result["creation_activity_id"]
    )
    assert activity.item.created_item_id == minted.handle


# ---- 6. search


@row
async def search_registry(sandbox: Sandbox) -> None:
    handle = await sandbox.mint("numbat", description="termites", keywords=["dryandra"])
    for _ in range(11):
        await sandbox.mint("numbat again")
    search = sandbox.alice.search.search_registry
    assert len((await search("numbat", None, None)).results) == 10
    many = (await search("numbat", 500, ItemSubType.DATASET)).results
    assert 12 <= len(many) <= 50
    assert [hit.score for hit in many] == sorted((hit.score for hit in many), reverse=True)
    for query in (handle, "numb", "term", "dryan"):
        hits = (await search(query, 50, ItemSubType.DATASET)).results
        assert handle in [hit.id for hit in hits], query


async def run_all(sandbox: Sandbox) -> dict[str, str | None]:
    results: dict[str, str | None] = {}
    for name, function in ROWS.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                await asyncio.wait_for(function(sandbox), 60)
            results[name] = None
        except Exception:
            results[name] = traceback.format_exc()
    return results


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(json.dumps(list(ROWS)))
    else:
        setup = json.load(sys.stdin)
        print(json.dumps(asyncio.run(run_all(Sandbox(setup)))))
