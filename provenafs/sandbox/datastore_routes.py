"""The routes of the data store API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic.v1 import BaseModel

from provenafs.sandbox.checks import add_access_checks
from provenafs.sandbox.collection import CollectionFormat, collection_schema
from provenafs.sandbox.endpoint import Call, Nothing, checked
from provenafs.sandbox.kinds import ADMIN, READ, WRITE, RealmRole
from provenafs.sandbox.messages import (
    CredentialsRequest,
    HandleQuery,
    Page,
    PresignRequest,
    ReleaseAnswer,
    ReleaseRequest,
    RevertRequest,
    ReviewAnswer,
    ReviewerQuery,
    ReviewRequest,
    StatusAnswer,
    UpdateQuery,
    VersionRequest,
    succeeded,
)

router = APIRouter()
add_access_checks(router)

_SYSTEM_WRITE = (RealmRole.SYSTEM_READ, RealmRole.SYSTEM_WRITE)
_SYSTEM_ADMIN = (*_SYSTEM_WRITE, RealmRole.SYSTEM_ADMIN)


class _ConfigQuery(BaseModel):
    required_only: bool = True


@router.post("/metadata/validate-metadata")
@checked(READ, body=CollectionFormat)
async def validate_metadata(call: Call[Nothing, CollectionFormat]) -> Any:
    return call.services.datastore.validate(call.body)


@router.get("/metadata/dataset-schema")
@checked(READ)
async def dataset_schema(call: Call[Nothing, Nothing]) -> Any:
    return {"json_schema": collection_schema()}


@router.post("/register/mint-dataset")
@checked(WRITE, body=CollectionFormat, email_needed=True)
async def mint_dataset(call: Call[Nothing, CollectionFormat]) -> Any:
    return await call.services.datastore.mint(call.user, call.body)


@router.post("/register/update-metadata")
@checked(WRITE, query=UpdateQuery, body=CollectionFormat, email_needed=True)
async def update_metadata(call: Call[UpdateQuery, CollectionFormat]) -> Any:
    query = call.query
    return await call.services.datastore.update(call.user, query.handle_id, query.reason, call.body)


@router.put("/register/revert-metadata")
@checked(WRITE, body=RevertRequest, email_needed=True)
async def revert_metadata(call: Call[Nothing, RevertRequest]) -> Any:
    await call.services.datastore.revert(call.user, call.body)
    return StatusAnswer(status=succeeded("Successfully reverted metadata."))


@router.post("/register/version")
@checked(WRITE, body=VersionRequest, email_needed=True)
async def version(call: Call[Nothing, VersionRequest]) -> Any:
    return await call.services.datastore.version(call.user, call.body)


@router.post("/registry/items/list")
@checked(READ, body=Page)
async def list_datasets(call: Call[Nothing, Page]) -> Any:
    return call.services.datastore.list(call.user, call.body)


@router.get("/registry/items/fetch-dataset")
@checked(READ, query=HandleQuery)
async def fetch_dataset(call: Call[HandleQuery, Nothing]) -> Any:
    return call.services.datastore.fetch(call.user, call.query.handle_id)


@router.post("/registry/items/generate-presigned-url")
@checked(READ, body=PresignRequest)
async def generate_presigned_url(call: Call[Nothing, PresignRequest]) -> Any:
    return await call.services.keys.presigned_url(call.user, call.body)


@router.post("/registry/credentials/generate-read-access-credentials")
@checked(READ, body=CredentialsRequest)
async def generate_read_credentials(call: Call[Nothing, CredentialsRequest]) -> Any:
    return await call.services.keys.for_reading(call.user, call.body)


@router.post("/registry/credentials/generate-write-access-credentials")
@checked(WRITE, body=CredentialsRequest)
async def generate_write_credentials(call: Call[Nothing, CredentialsRequest]) -> Any:
    return await call.services.keys.for_writing(call.user, call.body)


@router.get("/release/sys-reviewers/list")
@checked(WRITE)
async def list_reviewers(call: Call[Nothing, Nothing]) -> Any:
    return list(call.services.reviews.reviewers())


@router.post("/release/sys-reviewers/add")
@checked(_SYSTEM_WRITE, query=ReviewerQuery)
async def add_reviewer(call: Call[ReviewerQuery, Nothing]) -> Any:
    call.services.reviews.add_reviewer(call.query.reviewer_id)


@router.delete("/release/sys-reviewers/delete")
@checked(_SYSTEM_ADMIN, query=ReviewerQuery)
async def delete_reviewer(call: Call[ReviewerQuery, Nothing]) -> Any:
    call.services.reviews.remove_reviewer(call.query.reviewer_id)


@router.post("/release/approval-request")
@checked(WRITE, body=ReleaseRequest, email_needed=True)
async def approval_request(call: Call[Nothing, ReleaseRequest]) -> Any:
    call.services.reviews.request(call.user, call.body)
    return ReleaseAnswer(
        dataset_id=call.body.dataset_id,
        approver_id=call.body.approver_id,
        details="Successfully requested the release of the dataset.",
    )


@router.put("/release/action-approval-request")
@checked(WRITE, body=ReviewRequest, email_needed=True)
async def action_approval_request(call: Call[Nothing, ReviewRequest]) -> Any:
    call.services.reviews.decide(call.user, call.body)
    return ReviewAnswer(
        dataset_id=call.body.dataset_id,
        approved=call.body.approve,
        details="Successfully acted on the approval request.",
    )


@router.get("/admin/config")
@checked(ADMIN, query=_ConfigQuery)
async def config(call: Call[_ConfigQuery, Nothing]) -> Any:
    return PlainTextResponse(
        "STAGE=SANDBOX\n", headers={"Content-Disposition": 'attachment; filename="config.txt"'}
    )


@router.get("/admin/sentry-debug")
@checked(ADMIN)
async def sentry_debug(call: Call[Nothing, Nothing]) -> Any:
    return {"message": "Monitoring is disabled in the sandbox."}
