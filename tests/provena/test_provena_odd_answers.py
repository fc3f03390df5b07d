"""No answer of a service, whatever it lacks or holds, raises anything but the room's own errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.citation import citation_cff
from provenafs.catalog.crate import ro_crate_metadata
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.documents import metadata_json, record_json
from provenafs.catalog.minting import Minting
from provenafs.catalog.saving import fingerprint
from provenafs.cli.output import when
from provenafs.config import Settings
from provenafs.content.listing.index import Index
from provenafs.provena.client import Provena
from provenafs.provena.errors import ProvenaError
from provenafs.provena.handles import directory_name
from provenafs.provena.realm import DeviceLogin
from provenafs.provena.records import DatasetRecord
from provenafs.provena.transport import Transport
from provenafs.tree.documents import text_xattrs
from provenafs.tree.names import escape
from tests.support.odd_answers import odd
from tests.support.provena_answers import (
    FETCH,
    HANDLE,
    LIST,
    MINT,
    READ,
    SUCCESS,
    TOKEN,
    item,
    token,
)

DATASET = "/registry/registry/entity/dataset"
PERSON = {"person_id": "10378.1/1", "success": True}
S3 = {"bucket_name": "b", "path": "datasets/10378-1-1000010/", "s3_uri": "s3://b/"}
EVENT = {"action": "REQUEST", "timestamp": 1, "approver": "p", "requester": "q", "notes": "n"}
LOCK = {"action_type": "LOCK", "username": "a", "email": None, "reason": "r", "timestamp": 1}
JOB = {
    "session_id": "3c1c7c1e-0000-4000-8000-000000000001",
    "created_timestamp": 1,
    "username": "a",
    "batch_id": None,
    "payload": {},
    "job_type": "REGISTRY",
    "job_sub_type": "REGISTER_CREATE_ACTIVITY",
    "gsi_status": "ok",
    "status": "FAILED",
    "info": None,
    "result": None,
}
LINK = "https://s3.example.org/key?Signature=x"
DEVICE = {
    "device_code": "device",
    "user_code": "AB-CD",
    "verification_uri": "https://auth.example.org",
    "verification_uri_complete": "https://auth.example.org?c",
    "expires_in": 0.01,
    "interval": 0.001,
}
TOKENS = {"access_token": token(), "refresh_token": token(), "expires_in": 300}
CREDENTIALS = {
    "aws_access_key_id": "ASIA1",
    "aws_secret_access_key": "secret",
    "aws_session_token": "session",
    "expiry": "2030-01-01T00:00:00+00:00",
}
INFORMATION = {
    "name": "x",
    "description": "d",
    "access_info": {"reposited": True, "uri": "https://example.org"},
    "publisher_id": "10378.1/1",
    "published_date": {"relevant": True, "value": "2023-12-01"},
    "license": "https://example.org",
    "keywords": ["a"],
    "temporal_info": {"duration": {"begin_date": "2023-01-01", "end_date": "2023-10-31"}},
    "version": None,
}
ITEM = item(
    collection_format={
        "associations": {"organisation_id": "10378.1/1", "point_of_contact": "a@example.org"},
        "dataset_info": INFORMATION,
    },
    history=[
        {
            "id": 0,
            "timestamp": 1,
            "reason": "r",
            "username": "u",
            "item": {"collection_format": {"dataset_info": {"name": "x"}}},
        }
    ],
    release_status="RELEASED",
    release_timestamp=1717000000,
    release_approver="p",
    release_history=[EVENT],
    versioning_info={"version": 1, "previous_version": None, "next_version": None, "reason": "r"},
)
FETCHED = {"status": SUCCESS, "item": ITEM, "roles": ["admin"], "locked": False}
PAGE = {"status": SUCCESS, "items": [ITEM], "pagination_key": None}


def use(record: DatasetRecord, catalog: Catalog) -> None:
    """All that is made of a record."""
    for name in dir(DatasetRecord):
        if not name.startswith("_"):
            getattr(record, name)
    dataset = Dataset(record, frozenset({"admin"}), False, 1.0)
    assert dataset.write_refusal() or dataset.metadata_refusal() is None
    for make in (citation_cff, ro_crate_metadata, record_json):
        assert make(dataset)
    metadata_json(record.collection_format)
    times = [record.created_timestamp, record.updated_timestamp, dataset.released_at or 0]
    for entry in record.history:
        times.append(entry.timestamp)
        assert fingerprint(entry.collection_format)
        text_xattrs({"username": entry.username, "reason": entry.reason})
    times.extend(event.timestamp for event in record.release_history)
    for time in times:
        assert -(2**40) < time < 2**40  # what a file's time can be
        assert when(time)
    assert fingerprint(record.collection_format)
    text_xattrs({"status": record.release_status, "reason": record.version_reason})
    assert directory_name(record.id)
    assert escape(record.display_name)


async def use_fetched(provena: Provena, catalog: Catalog) -> None:
    fetched = await provena.datastore.fetch(HANDLE)
    use(fetched.record, catalog)
    text_xattrs({"roles": ",".join(sorted(fetched.roles))})
    await catalog.dataset(HANDLE, max_age=0)
    await catalog.versions(HANDLE)
    known = catalog._records.dataset(HANDLE)
    assert known is not None
    use(known.record, catalog)


async def use_list(provena: Provena, catalog: Catalog) -> None:
    async for record in provena.datastore.list_all():
        use(record, catalog)
    for summary in await catalog.datasets():
        assert directory_name(summary.handle)
        await catalog.record(summary.handle)
    await Minting(catalog, provena, Path("unused")).template()


async def use_reviews(provena: Provena, catalog: Catalog) -> None:
    async for record in provena.registry.reviews("p"):
        assert record.release_timestamp is None or when(record.release_timestamp)


async def use_device(provena: Provena, _: Catalog) -> None:
    login = await provena.realm.begin_device_login("c", "")
    assert 0 <= login.interval < login.expires_in + 1e6


async def use_device_end(provena: Provena, _: Catalog) -> None:
    login = DeviceLogin("c", "https://a", 5.0, 0.001, "device")
    tokens = await provena.realm.finish_device_login("c", login)
    assert tokens.expires_at < 1e11
    assert tokens.username is None or tokens.username


async def use_hits(provena: Provena, _: Catalog) -> None:
    for hit in await provena.search.datasets("x"):
        assert directory_name(hit.id)


async def use_jobs(provena: Provena, _: Catalog) -> None:
    assert provena.jobs is not None
    await provena.jobs.fetch("s")


async def use_auth(provena: Provena, _: Catalog) -> None:
    assert provena.auth_api is not None
    await provena.auth_api.person()


async def use_groups(provena: Provena, _: Catalog) -> None:
    assert provena.auth_api is not None
    await provena.auth_api.groups()


Use = Callable[[Provena, Catalog], Awaitable[Any]]
DATA = "/data/register"
CALLS: dict[str, tuple[str, Any, Use]] = {
    "fetch": (FETCH, FETCHED, use_fetched),
    "list": (LIST, PAGE, use_list),
    "reviews": (
        f"{DATASET}/user/releases",
        {"status": SUCCESS, "dataset_items": [ITEM], "pagination_key": None},
        use_reviews,
    ),
    "search": (
        "/search/search/entity-registry",
        {"status": SUCCESS, "results": [{"id": HANDLE, "score": 1.5}], "warnings": None},
        use_hits,
    ),
    "mint": (
        MINT,
        {"status": SUCCESS, "handle": HANDLE, "s3_location": S3},
        lambda provena, _: provena.datastore.mint({}),
    ),
    "validate": (
        "/data/metadata/validate-metadata",
        SUCCESS,
        lambda provena, _: provena.datastore.validate({}),
    ),
    "schema": (
        "/data/metadata/dataset-schema",
        {"json_schema": {"type": "object"}},
        lambda provena, _: provena.datastore.schema(),
    ),
    "update": (
        f"{DATA}/update-metadata",
        {"status": SUCCESS, "handle": HANDLE},
        lambda provena, _: provena.datastore.update_metadata(HANDLE, {}, "r"),
    ),
    "revert": (
        f"{DATA}/revert-metadata",
        {"status": SUCCESS},
        lambda provena, _: provena.datastore.revert_metadata(HANDLE, 0, "r"),
    ),
    "version": (
        f"{DATA}/version",
        {"new_version_id": HANDLE, "version_job_session_id": "s"},
        lambda provena, _: provena.datastore.version(HANDLE, "r"),
    ),
    "keys": (
        READ,
        {"status": SUCCESS, "credentials": CREDENTIALS, "console_session_url": LINK},
        lambda provena, _: provena.broker.get(HANDLE, "read"),
    ),
    "link": (
        "/data/registry/items/generate-presigned-url",
        {"dataset_id": HANDLE, "file_path": "f", "presigned_url": LINK},
        lambda provena, _: provena.datastore.presigned_url(HANDLE, "f", 10),
    ),
    "reviewers": (
        "/data/release/sys-reviewers/list",
        ["p"],
        lambda provena, _: provena.datastore.reviewers(),
    ),
    "request": (
        "/data/release/approval-request",
        {"dataset_id": HANDLE, "approver_id": "p", "details": "d"},
        lambda provena, _: provena.datastore.request_release(HANDLE, "p", "n"),
    ),
    "decide": (
        "/data/release/action-approval-request",
        {"dataset_id": HANDLE, "approved": True, "details": "d"},
        lambda provena, _: provena.datastore.decide_release(HANDLE, "n", approve=True),
    ),
    "health": ("/data/", {"message": "fine"}, lambda provena, _: provena.datastore.health()),
    "item": (
        "/registry/registry/general/fetch",
        {"status": SUCCESS, "item": {"id": "p"}},
        lambda provena, _: provena.registry.item("p"),
    ),
    "roles": (
        f"{DATASET}/auth/evaluate",
        {"roles": ["admin"]},
        lambda provena, _: provena.registry.roles(HANDLE),
    ),
    "access": (
        f"{DATASET}/auth/configuration",
        {"owner": "a", "general": ["admin"], "groups": {"g": ["admin"]}},
        lambda provena, _: provena.registry.access(HANDLE),
    ),
    "lock": (
        f"{DATASET}/locks/lock",
        {"status": SUCCESS},
        lambda provena, _: provena.registry.lock(HANDLE, "r"),
    ),
    "locked": (
        f"{DATASET}/locks/locked",
        {"locked": True},
        lambda provena, _: provena.registry.is_locked(HANDLE),
    ),
    "lock history": (
        f"{DATASET}/locks/history",
        {"status": SUCCESS, "history": [LOCK]},
        lambda provena, _: provena.registry.lock_history(HANDLE),
    ),
    "job": ("/jobs/jobs/user/fetch", {"job": JOB}, use_jobs),
    "person": ("/auth/link/user/lookup", PERSON, use_auth),
    "groups": (
        "/auth/groups/user/list_user_membership",
        {"status": SUCCESS, "groups": [{"id": "g", "display_name": "d", "description": "e"}]},
        use_groups,
    ),
    "realm": ("/realm", {"public_key": "A"}, lambda provena, _: provena.realm.check()),
    "device": ("/realm/protocol/openid-connect/auth/device", DEVICE, use_device),
    "device end": (TOKEN, TOKENS, use_device_end),
    "refresh": (TOKEN, TOKENS, lambda provena, _: provena.realm.refresh("c", token())),
}


class Streamed(httpx.AsyncByteStream):
    """A body that is read as it comes, as from a connection."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class Server:
    """Answers one path with the body of the moment."""

    def __init__(self) -> None:
        self.path = ""
        self.body = b""
        self.status = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != self.path:
            return httpx.Response(404, stream=Streamed(b'{"detail": "Not Found"}'))
        return httpx.Response(self.status, stream=Streamed(self.body))


@pytest.fixture
def odd_server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    @asynccontextmanager
    async def connected(timeout: float) -> AsyncIterator[Transport]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(server.answer)) as http:
            yield Transport(http, timeout)

    monkeypatch.setattr(Transport, "open", connected)
    return server


SETTINGS = Settings.model_validate(
    {f"{name}_url": f"https://x.example.org/{path}" for name, path in (
        ("datastore", "data"), ("registry", "registry"), ("search", "search"), ("auth", "realm"),
        ("auth_api", "auth"), ("job_api", "jobs"),
    )} | {"token": token(), "api_timeout": 5}
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_with_anything_wrong_ends_in_a_sentence_at_most(
    odd_server: Server, call: str
) -> None:
    odd_server.path, answer, use_it = CALLS[call]
    faults: dict[str, str] = {}
    usable = 0
    for what, odd_server.body in odd(answer):
        async with Provena.connect(SETTINGS) as provena:
            catalog = Catalog(provena, Index(None).database, ttl=30)
            try:
                await use_it(provena, catalog)
            except ProvenaError as error:
                assert "\n" not in str(error)
                assert len(str(error)) < 1000
            except Exception as error:
                faults[what] = repr(error)[:300]
            else:
                usable += 1
    assert not faults
    assert usable


@pytest.mark.parametrize("status", [400, 401, 403, 422, 500])
async def test_a_refusal_with_anything_wrong_is_a_sentence(odd_server: Server, status: int) -> None:
    entry = {"loc": ["body", "a"], "msg": "m", "type": "t"}
    answer = {"detail": [entry], "message": "m", "error": "e", "error_description": "d"}
    odd_server.path, odd_server.status = MINT, status
    for what, odd_server.body in odd(answer):
        async with Provena.connect(SETTINGS) as provena:
            with pytest.raises(ProvenaError) as caught:
                await provena.datastore.mint({})
            assert str(caught.value).isprintable(), what
            assert len(str(caught.value)) < 1000, what
