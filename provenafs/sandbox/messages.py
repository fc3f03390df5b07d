"""Request and response bodies shared by several services."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ProvenaInterfaces.RegistryModels import ItemSubType
from pydantic.v1 import BaseModel, Field, root_validator

from provenafs.sandbox.kinds import LockAction, RecordFilter, ReleaseStatus, SortType
from provenafs.sandbox.records import ItemDataset, S3Location, SeededItem

DEFAULT_PAGE_SIZE = 20


class Status(BaseModel):
    success: bool
    details: str


class StatusAnswer(BaseModel):
    status: Status


def succeeded(details: str) -> Status:
    return Status(success=True, details=details)


def failed(details: str) -> Status:
    return Status(success=False, details=details)


class ItemQuery(BaseModel):
    id: str


class FetchQuery(ItemQuery):
    seed_allowed: bool = False


class SortOptions(BaseModel):
    sort_type: SortType | None = None
    ascending: bool = False
    begins_with: str | None = None

    @root_validator(skip_on_failure=True)
    def _begins_with_its_sort(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        needed = values["sort_type"] == SortType.ACCESS_INFO_URI_BEGINS_WITH
        given = bool(values["begins_with"])
        if given and not needed:
            raise ValueError(
                "Cannot filter by begins_with without specifying a valid sort_type."
                f" Must be one of ['{SortType.ACCESS_INFO_URI_BEGINS_WITH}']"
            )
        if needed and not given:
            raise ValueError(
                f"Cannot filter by begins-with sort_type {values['sort_type']}"
                " without specifying a begins_with value"
            )
        return values


class Page(BaseModel):
    """Which part of a list is asked for."""

    sort_by: SortOptions | None = None
    pagination_key: dict[str, Any] | None = None
    page_size: int = DEFAULT_PAGE_SIZE


class RecordFilterOptions(BaseModel):
    record_type: RecordFilter = RecordFilter.COMPLETE_ONLY


class FilterOptions(RecordFilterOptions):
    item_subtype: ItemSubType | None = None
    release_reviewer: str | None = None
    release_status: ReleaseStatus | None = None

    @root_validator(skip_on_failure=True)
    def _one_of_two(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        if values["item_subtype"] and values["release_status"]:
            raise ValueError("Cannot filter by both item_subtype and release_status")
        return values


class SubtypePage(Page):
    filter_by: RecordFilterOptions | None = None


class GeneralPage(Page):
    filter_by: FilterOptions | None = None


class ReviewPage(Page):
    filter_by: FilterOptions


class FetchAnswer(StatusAnswer):
    """An item as its own subtype's model, so every null is there."""

    item: Any = None
    roles: list[str] | None = None
    locked: bool | None = None
    item_is_seed: bool | None = None


class DatasetFetchAnswer(StatusAnswer):
    item: ItemDataset | None = None
    roles: list[str] | None = None
    locked: bool | None = None


class ListAnswer(StatusAnswer):
    items: list[Any] = []
    seed_items: list[SeededItem] = []
    unparsable_items: list[dict[str, Any]] = []
    total_item_count: int = 0
    complete_item_count: int = 0
    seed_item_count: int = 0
    unparsable_item_count: int = 0
    not_authorised_count: int = 0
    pagination_key: dict[str, Any] | None = None


class GeneralListAnswer(StatusAnswer):
    items: list[dict[str, Any]]
    total_item_count: int
    pagination_key: dict[str, Any] | None


class ReviewListAnswer(StatusAnswer):
    dataset_items: list[ItemDataset]
    total_dataset_count: int
    pagination_key: dict[str, Any] | None


class CreateAnswer(StatusAnswer):
    created_item: Any = None
    register_create_activity_session_id: str | None = None


class AccessSettings(BaseModel):
    owner: str
    general: list[str]
    groups: dict[str, list[str]]


class LockChange(BaseModel):
    id: str
    reason: str


class LockEvent(BaseModel):
    action_type: LockAction
    username: str
    email: str | None = None
    reason: str
    timestamp: int


class LockHistory(StatusAnswer):
    history: list[LockEvent]


class MintAnswer(StatusAnswer):
    handle: str | None = None
    s3_location: S3Location | None = None
    register_create_activity_session_id: str | None = None


class UpdateQuery(BaseModel):
    handle_id: str
    reason: str


class HandleQuery(BaseModel):
    handle_id: str


class UpdateAnswer(StatusAnswer):
    handle: str
    s3_location: S3Location


class RevertRequest(BaseModel):
    id: str
    history_id: int
    reason: str


class VersionRequest(BaseModel):
    id: str
    reason: str


class VersionAnswer(BaseModel):
    new_version_id: str
    version_job_session_id: str


class CredentialsRequest(BaseModel):
    dataset_id: str
    console_session_required: bool


class IssuedCredentials(BaseModel):
    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str
    expiry: datetime


class CredentialsAnswer(StatusAnswer):
    credentials: IssuedCredentials
    console_session_url: str | None = None


class PresignRequest(BaseModel):
    dataset_id: str
    file_path: str
    expires_in: int = Field(3 * 3600, ge=1, le=24 * 3600)


class PresignAnswer(BaseModel):
    dataset_id: str
    file_path: str
    presigned_url: str


class ReviewerQuery(BaseModel):
    reviewer_id: str


class ReleaseRequest(BaseModel):
    dataset_id: str
    approver_id: str
    notes: str


class ReleaseAnswer(BaseModel):
    dataset_id: str
    approver_id: str
    details: str


class ReviewRequest(BaseModel):
    dataset_id: str
    approve: bool
    notes: str


class ReviewAnswer(BaseModel):
    dataset_id: str
    approved: bool
    details: str
