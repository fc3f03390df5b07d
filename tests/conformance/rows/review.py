"""Rows of the release states."""

from __future__ import annotations

from provenaclient.utils import exceptions as refusals
from ProvenaInterfaces.DataStoreAPI import ActionApprovalRequest, ReleaseApprovalRequest
from ProvenaInterfaces.RegistryAPI import VersionRequest

from rows.client import (
    AUTH,
    BAD_REQUEST,
    NOT_FOUND,
    SERVER,
    Sandbox,
    credentials_request,
    raises,
    request_release,
    row,
)


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
