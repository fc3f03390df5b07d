"""The registry's records of items, and the requests that change them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ProvenaInterfaces.RegistryModels import ItemCategory, ItemSubType
from pydantic.v1 import AnyHttpUrl, BaseModel, EmailStr, root_validator, validator

from provenafs.sandbox.collection import CollectionFormat, Uri
from provenafs.sandbox.kinds import RecordType, ReleaseAction, ReleaseStatus


def without_nulls(model: BaseModel) -> dict[str, Any]:
    """A model as plain JSON values with every null dropped, which is how rows are stored."""
    document: dict[str, Any] = json.loads(model.json(exclude_none=True))
    return document


class S3Location(BaseModel):
    bucket_name: str
    path: str
    s3_uri: str


class DomainInfo(BaseModel):
    """An item's metadata; each subtype adds its own."""

    display_name: str
    user_metadata: dict[str, str] | None = None


class ReleaseHistoryEntry(BaseModel):
    action: ReleaseAction
    timestamp: int
    approver: str
    requester: str | None = None
    notes: str


class DatasetDomainInfo(DomainInfo):
    collection_format: CollectionFormat
    s3: S3Location
    release_history: list[ReleaseHistoryEntry] = []
    release_status: ReleaseStatus
    release_approver: str | None = None
    release_timestamp: int | None = None
    access_info_uri: Uri | None = None

    @root_validator(skip_on_failure=True)
    def _consistent(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        if values["access_info_uri"] != values["collection_format"].dataset_info.access_info.uri:
            raise ValueError("access_info_uri must always match collection_format.access_info.uri.")
        if (values["release_approver"] is None) != (values["release_timestamp"] is None):
            raise ValueError(
                "Cannot provide a release activity timestamp without release approver"
                " and vice versa."
            )
        return values


class OrganisationDomainInfo(DomainInfo):
    name: str
    ror: AnyHttpUrl | None = None


class PersonDomainInfo(DomainInfo):
    email: EmailStr
    first_name: str
    last_name: str
    orcid: AnyHttpUrl | None = None
    ethics_approved: bool = False


class CreateDomainInfo(DomainInfo):
    created_item_id: str


class VersionDomainInfo(DomainInfo):
    reason: str
    from_item_id: str
    to_item_id: str
    new_version_number: int


class WorkflowLinks(BaseModel):
    create_activity_workflow_id: str | None = None
    version_activity_workflow_id: str | None = None


class VersioningInfo(BaseModel):
    previous_version: str | None = None
    version: int
    reason: str | None = None
    next_version: str | None = None

    @root_validator(skip_on_failure=True)
    def _reasoned(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        if values["previous_version"] is not None and values["reason"] is None:
            raise ValueError(
                "Items with a previous version must specify a reason for the updated version."
            )
        return values


class SeededItem(BaseModel):
    """An item that has a handle and no content yet."""

    id: str
    owner_username: str
    created_timestamp: int
    updated_timestamp: int
    item_category: ItemCategory
    item_subtype: ItemSubType
    record_type: RecordType
    workflow_links: WorkflowLinks | None = None
    versioning_info: VersioningInfo | None = None


class HistoryEntry(BaseModel):
    id: int
    timestamp: int
    reason: str
    username: str


class CompleteItem(SeededItem):
    """The fields of every complete item beside its domain info."""

    @validator("history", check_fields=False)
    def _unique(cls, history: list[HistoryEntry]) -> list[HistoryEntry]:  # noqa: N805
        if len({entry.id for entry in history}) != len(history):
            raise ValueError("Non unique ID list in item history")
        return history


class DatasetHistoryEntry(HistoryEntry):
    item: DatasetDomainInfo


class ItemDataset(CompleteItem, DatasetDomainInfo):
    history: list[DatasetHistoryEntry]
    item_category: ItemCategory = ItemCategory.ENTITY
    item_subtype: ItemSubType = ItemSubType.DATASET


class OrganisationHistoryEntry(HistoryEntry):
    item: OrganisationDomainInfo


class ItemOrganisation(CompleteItem, OrganisationDomainInfo):
    history: list[OrganisationHistoryEntry]


class PersonHistoryEntry(HistoryEntry):
    item: PersonDomainInfo


class ItemPerson(CompleteItem, PersonDomainInfo):
    history: list[PersonHistoryEntry]


class CreateHistoryEntry(HistoryEntry):
    item: CreateDomainInfo


class ItemCreate(CompleteItem, CreateDomainInfo):
    history: list[CreateHistoryEntry]


class VersionHistoryEntry(HistoryEntry):
    item: VersionDomainInfo


class ItemVersion(CompleteItem, VersionDomainInfo):
    history: list[VersionHistoryEntry]


@dataclass(frozen=True, slots=True)
class Subtype:
    """How one kind of item is called and parsed."""

    name: ItemSubType
    category: ItemCategory
    item: type[CompleteItem]
    domain_info: type[DomainInfo]
    has_versions: bool = False
    """Whether items have versions, and activities that record how they came to be."""


SUBTYPES: dict[str, Subtype] = {
    subtype.name.value: subtype
    for subtype in (
        Subtype(
            *(ItemSubType.DATASET, ItemCategory.ENTITY, ItemDataset, DatasetDomainInfo),
            has_versions=True,
        ),
        Subtype(
            ItemSubType.ORGANISATION, ItemCategory.AGENT, ItemOrganisation, OrganisationDomainInfo
        ),
        Subtype(ItemSubType.PERSON, ItemCategory.AGENT, ItemPerson, PersonDomainInfo),
        Subtype(ItemSubType.CREATE, ItemCategory.ACTIVITY, ItemCreate, CreateDomainInfo),
        Subtype(ItemSubType.VERSION, ItemCategory.ACTIVITY, ItemVersion, VersionDomainInfo),
    )
}
