"""The routes of the job API that a user needs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic.v1 import BaseModel

from provenafs.sandbox.endpoint import Call, Nothing, checked
from provenafs.sandbox.store import Document

router = APIRouter()


class _JobQuery(BaseModel):
    session_id: str


class _JobsPage(BaseModel):
    pagination_key: dict[str, Any] | None = None
    limit: int = 10


class _BatchPage(_JobsPage):
    batch_id: str


@router.get("/jobs/user/fetch")
@checked((), query=_JobQuery)
async def fetch(call: Call[_JobQuery, Nothing]) -> Any:
    """One of the caller's jobs; nobody sees another's, administrators included."""
    job = call.services.jobs.fetch(call.query.session_id)
    if job is None:
        raise HTTPException(400, "Item was not found.")
    if job["username"] != call.user.username:
        raise HTTPException(401, "You are not authorised to view this job.")
    return {"job": job}


@router.post("/jobs/user/list")
@checked((), body=_JobsPage)
async def list_jobs(call: Call[Nothing, _JobsPage]) -> Any:
    """One page of the caller's jobs, newest first."""
    return _page(call.services.jobs.of_user(call.user.username), call.body)


@router.post("/jobs/user/list_batch")
@checked((), body=_BatchPage)
async def list_batch(call: Call[Nothing, _BatchPage]) -> Any:
    """One page of a batch of the caller's jobs."""
    return _page(call.services.jobs.of_user(call.user.username, call.body.batch_id), call.body)


def _page(jobs: list[Document], page: _JobsPage) -> Document:
    if page.limit < 1:
        raise HTTPException(500, "Invalid value for parameter Limit.")
    start = 0
    if page.pagination_key is not None:
        ids = [job["session_id"] for job in jobs]
        try:
            start = ids.index(page.pagination_key["session_id"]) + 1
        except (KeyError, ValueError) as error:
            raise HTTPException(500, "The provided starting key is invalid.") from error
    shown = jobs[start : start + page.limit]
    key = None
    if len(shown) == page.limit:
        fields = ("session_id", "created_timestamp", "username")
        key = {field: shown[-1][field] for field in fields}
    return {"jobs": shown, "pagination_key": key}
