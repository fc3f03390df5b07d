"""Rows of the data store: minting, metadata, versions."""

from __future__ import annotations

import re

from provenaclient.models.datastore import RevertMetadata
from ProvenaInterfaces.RegistryAPI import VersionRequest

from rows.client import (
    AUTH,
    BAD_REQUEST,
    FIVE_ROLES,
    SERVER,
    Sandbox,
    grant,
    lock,
    plain,
    raises,
    row,
    san,
    unparsable,
)


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
