"""Rows of the registry, the jobs and the search."""

from __future__ import annotations

from ProvenaInterfaces.RegistryAPI import GeneralListRequest, ItemRevertRequest, LockChangeRequest
from ProvenaInterfaces.RegistryModels import AccessSettings, ItemSubType

from rows.client import (
    AUTH,
    BAD_REQUEST,
    FIVE_ROLES,
    NOT_FOUND,
    Sandbox,
    grant,
    lock,
    raises,
    row,
    unparsable,
)


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
