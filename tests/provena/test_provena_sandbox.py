"""The client against the services of the sandbox, as each of its users."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from provenafs.config import load_settings
from provenafs.provena.client import Provena
from provenafs.provena.errors import Invalid, Locked, NotFound, Released, Unauthorised
from tests.support.running_sandbox import RunningSandbox

Connect = Callable[[str], AbstractAsyncContextManager[Provena]]


@pytest.fixture
def as_user(sandbox: RunningSandbox, tmp_path: Path) -> Connect:
    @asynccontextmanager
    async def connect(user: str) -> AsyncIterator[Provena]:
        settings = load_settings(environ=sandbox.env(user), state_dir=tmp_path)
        async with Provena.connect(settings) as provena:
            yield provena

    return connect


async def handles(provena: Provena) -> dict[str, str]:
    return {record.display_name: record.id async for record in provena.datastore.list_all()}


async def test_each_user_sees_what_the_roles_allow(as_user: Connect) -> None:
    async with as_user("alice") as alice, as_user("bob") as bob, as_user("dave") as dave:
        hers, his = await handles(alice), await handles(bob)
        assert "Private drafts" in hers
        assert "Private drafts" not in his
        assert "Palmer penguins" in his
        with pytest.raises(Unauthorised, match="lacks a role"):
            await handles(dave)
        with pytest.raises(Unauthorised, match="did not grant access"):
            await bob.datastore.fetch(hers["Private drafts"])


async def test_a_fetch_tells_record_roles_and_lock(
    as_user: Connect, sandbox: RunningSandbox
) -> None:
    async with as_user("alice") as alice, as_user("bob") as bob:
        known = await handles(alice)
        locked = await alice.datastore.fetch(known["Locked tide gauges"])
        assert locked.locked
        assert "admin" in locked.roles
        penguins = await bob.datastore.fetch(known["Palmer penguins"])
        assert penguins.roles == {"metadata-read", "dataset-data-read"}
        assert not penguins.locked
        assert penguins.record.raw == sandbox.item(penguins.record.id)
        assert penguins.record.has_own_folder
        third = (await alice.datastore.fetch(known["Reef survey"])).record
        assert third.version == 3
        assert third.previous_version is not None
        with pytest.raises(NotFound, match=r"there is no dataset '10378.1/9'"):
            await alice.datastore.fetch("10378.1/9")


async def test_who_gets_which_keys(as_user: Connect) -> None:
    async with as_user("alice") as alice, as_user("bob") as bob:
        known = await handles(alice)
        assert (await bob.broker.get(known["Palmer penguins"], "read")).session_token
        with pytest.raises(Unauthorised):
            await bob.broker.get(known["Palmer penguins"], "write")
        with pytest.raises(Locked):
            await alice.broker.get(known["Locked tide gauges"], "write")
        for name in ("Released soil cores", "Soil cores under review"):
            with pytest.raises(Released):
                await alice.broker.get(known[name], "write")
        with pytest.raises(Unauthorised):
            await alice.broker.get(known["Embargoed genomes"], "read")
        with pytest.raises(NotFound):
            await alice.broker.get("10378.1/9", "read")


async def test_the_life_of_a_record(as_user: Connect) -> None:
    async with as_user("alice") as alice:
        store = alice.datastore
        known = await handles(alice)
        document = (await store.fetch(known["Palmer penguins"])).record.collection_format
        document = json.loads(json.dumps(document))
        document["dataset_info"]["name"] = "Life of a record"
        await store.validate(document)
        minted = await store.mint(document)
        assert alice.jobs is not None
        assert minted.session_id is not None
        assert (await alice.jobs.fetch(minted.session_id)).session_id == minted.session_id
        document["dataset_info"]["name"] = "Renamed"
        await store.update_metadata(minted.handle, document, "a better name")
        await store.revert_metadata(minted.handle, 0, "the old one was better")
        record = (await store.fetch(minted.handle)).record
        assert record.display_name == "Life of a record"
        assert [entry.id for entry in record.history] == [2, 1, 0]
        assert record.history[1].reason == "a better name"
        new = await store.version(minted.handle, "more data")
        assert (await store.fetch(new.handle)).record.previous_version == minted.handle
        with pytest.raises(Invalid):
            await store.version(minted.handle, "again")
        with pytest.raises(Invalid, match="a reason is needed"):
            await store.version(new.handle, " ")
        with pytest.raises(Invalid, match="does not have a history entry"):
            await store.revert_metadata(minted.handle, 99, "none")
        with pytest.raises(Invalid):
            await store.mint({**document, "unknown": 1})


async def test_locks_and_access(as_user: Connect, sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "Locks and access")
    async with as_user("alice") as alice, as_user("bob") as bob:
        registry = alice.registry
        await registry.lock(handle, "frozen for a paper")
        assert await registry.is_locked(handle)
        with pytest.raises(Invalid, match="already locked"):
            await registry.lock(handle, "again")
        document = (await alice.datastore.fetch(handle)).record.collection_format
        with pytest.raises(Locked):
            await alice.datastore.update_metadata(handle, document, "x")
        await registry.unlock(handle, "done")
        assert [event.action_type.value for event in await registry.lock_history(handle)] == [
            "LOCK",
            "UNLOCK",
        ]
        with pytest.raises(Unauthorised):
            await bob.registry.lock(handle, "mine")
        settings = await registry.access(handle)
        assert settings.owner == "alice"
        settings.general = []
        await registry.set_access(handle, settings)
        assert await bob.registry.roles(handle) == frozenset()
        with pytest.raises(Unauthorised):
            await bob.registry.access(handle)


async def test_review(as_user: Connect, sandbox: RunningSandbox) -> None:
    handle = sandbox.mint("alice", "To be reviewed")
    async with as_user("alice") as alice, as_user("carol") as carol, as_user("admin") as admin:
        assert carol.auth_api is not None
        person = await carol.auth_api.person()
        assert person is not None
        await admin.datastore.add_reviewer(person)
        assert person in await alice.datastore.reviewers()
        await alice.datastore.request_release(handle, person, "please")
        inbox = [record.id async for record in carol.registry.reviews(person)]
        assert handle in inbox
        with pytest.raises(Unauthorised):
            await alice.datastore.decide_release(handle, "me", approve=True)
        await carol.datastore.decide_release(handle, "good", approve=True)
        record = (await alice.datastore.fetch(handle)).record
        assert record.release_status == "RELEASED"
        assert record.release_approver == person
        assert [event.action for event in record.release_history] == ["REQUEST", "APPROVE"]
        with pytest.raises(Invalid):
            await carol.datastore.decide_release(handle, "again", approve=False)


async def test_search_links_and_health(as_user: Connect) -> None:
    async with as_user("alice") as alice:
        known = await handles(alice)
        hits = await alice.search.datasets("penguins")
        assert hits[0].id == known["Palmer penguins"]
        url = await alice.datastore.presigned_url(known["Palmer penguins"], "metadata.json", 60)
        async with httpx.AsyncClient(trust_env=False) as http:
            document = (await http.get(url)).json()
        assert document["dataset_info"]["name"] == "Palmer penguins"
        with pytest.raises(Invalid, match=r"contains '..' which is not allowed"):
            await alice.datastore.presigned_url(known["Palmer penguins"], "a..b", 60)
        for service in alice.services:
            assert await service.health() == "Health check successful."
        schema = await alice.datastore.schema()
        assert "properties" in schema
        assert await alice.datastore.schema() == schema
        assert await alice.username() == "alice"
