"""The rules of the data store: minting, metadata edits and versions, on top of the registry."""

from __future__ import annotations

import json
from typing import Any

from fastapi import HTTPException
from ProvenaInterfaces.RegistryModels import ItemSubType

from provenafs.sandbox.collection import CollectionFormat, field_fault
from provenafs.sandbox.errors import Crash
from provenafs.sandbox.kinds import ItemRole, RecordFilter, ReleaseStatus
from provenafs.sandbox.listing import Lists
from provenafs.sandbox.messages import (
    DatasetFetchAnswer,
    ListAnswer,
    MintAnswer,
    Page,
    RevertRequest,
    Status,
    UpdateAnswer,
    VersionAnswer,
    VersionRequest,
    failed,
    succeeded,
)
from provenafs.sandbox.records import DatasetDomainInfo, ItemDataset, S3Location, without_nulls
from provenafs.sandbox.registry import Registry, domain_of
from provenafs.sandbox.storage import ObjectStorage
from provenafs.sandbox.users import User

METADATA_NAME = "metadata.json"
_EDITORS = (ItemRole.METADATA_WRITE, ItemRole.DATA_WRITE, ItemRole.ADMIN)
_NEW_LOCATION_REASON = "(System) Dataset S3 path updated to new version's storage location"
_SCHEMA_FAULT = "Failed to validate metadata against json schema."


class DataStore:
    """Datasets: records of the registry, each with a folder in the bucket.

    Refusals are HTTP errors as the data store service answers them. What a failure half-way leaves
    behind in the real service is left behind here.
    """

    def __init__(self, registry: Registry, lists: Lists, storage: ObjectStorage) -> None:
        self.registry = registry
        self._lists = lists
        self._storage = storage

    def validate(self, collection: CollectionFormat) -> Status:
        """Whether a dataset could be minted of this, and why not."""
        fault = self._own_fault(collection) or self._registry_fault(collection)
        return failed(fault) if fault else succeeded("Successfully validated metadata.")

    def list(self, user: User, page: Page) -> ListAnswer:
        """One page of datasets; a row that cannot be parsed fails the whole page."""
        try:
            answer = self._lists.of_subtype(
                user, ItemSubType.DATASET, page, RecordFilter.COMPLETE_ONLY
            )
        except HTTPException as error:
            raise _upstream(error, "listing datasets") from error
        if not answer.status.success:
            raise HTTPException(
                400,
                "The registry API responded with status success False during dataset listing."
                f" Details: {answer.status.details}",
            )
        return answer

    def fetch(self, user: User, handle: str) -> DatasetFetchAnswer:
        """A dataset with roles and lock; 400 if unknown, 401 without access to its metadata."""
        if not handle:
            raise HTTPException(400, "Empty string received for the dataset id.")
        try:
            answer = self.registry.fetch(user, handle, ItemSubType.DATASET)
        except HTTPException as error:
            if error.status_code == 401:
                detail = f"Registry did not grant access to the dataset. Details: {error.detail}"
                raise HTTPException(401, detail) from error
            raise _upstream(error, "dataset fetching") from error
        if not answer.status.success:
            raise HTTPException(
                400,
                "The registry API responded with status success False during dataset fetching."
                f" Details: {answer.status.details}",
            )
        return DatasetFetchAnswer(
            status=answer.status, item=answer.item, roles=answer.roles, locked=answer.locked
        )

    async def mint(self, user: User, collection: CollectionFormat) -> MintAnswer:
        """A new dataset. Metadata that does not hold is no HTTP error but success=false."""
        status = self.validate(collection)
        if not status.success:
            return MintAnswer(status=status)
        try:
            handle = str(self.registry.seed(user, ItemSubType.DATASET)["id"])
        except HTTPException as error:
            raise _unexpected(error, "minting") from error
        location = await self._new_location(handle)
        await self._write_metadata(location, collection)
        domain = DatasetDomainInfo(
            **_derived(collection),
            user_metadata=collection.dataset_info.user_metadata,
            s3=location,
            release_status=ReleaseStatus.NOT_RELEASED,
        )
        try:
            item = self.registry.complete(user, handle, domain)
        except HTTPException as error:
            raise _unexpected(error, "minting") from error
        return MintAnswer(
            status=succeeded("Successfully seeded location - see location details."),
            handle=handle,
            s3_location=location,
            register_create_activity_session_id=item["workflow_links"][
                "create_activity_workflow_id"
            ],
        )

    async def update(
        self, user: User, handle: str, reason: str, collection: CollectionFormat
    ) -> UpdateAnswer:
        """Replace a dataset's metadata, in the registry first and then in its folder."""
        fault = self._own_fault(collection) or self._registry_fault(collection)
        if fault is not None:
            raise HTTPException(400, fault)
        item = self._editable(user, handle)
        if not reason:
            raise Crash
        await self._replace(user, item, collection, reason)
        return UpdateAnswer(
            status=succeeded("Successfully updated metadata."), handle=handle, s3_location=item.s3
        )

    async def revert(self, user: User, request: RevertRequest) -> None:
        """Replace a dataset's metadata by that of an entry of its history."""
        item = self._editable(user, request.id)
        entries = [entry for entry in item.history if entry.id == request.history_id]
        if not entries:
            raise HTTPException(
                400,
                f"The dataset {request.id} does not have a history entry with id matching"
                f" {request.history_id}.",
            )
        collection = entries[0].item.collection_format
        fault = self._registry_fault(collection)
        if fault is not None:
            raise HTTPException(400, fault)
        reason = f"Reverting dataset to history id {request.history_id}. Reason: {request.reason}."
        await self._replace(user, item, collection, reason)

    async def version(self, user: User, request: VersionRequest) -> VersionAnswer:
        """The next version of a dataset, in a folder of its own that holds only metadata.json."""
        new, session = self.registry.version(user, request.id, request.reason)
        new_id, domain = str(new["id"]), domain_of(new)
        assert isinstance(domain, DatasetDomainInfo)
        collection = domain.collection_format
        fault = self._own_fault(collection)
        if fault is not None:
            raise HTTPException(
                500,
                f"{new_id}: Version succeeded, but the new dataset's S3 storage location is not"
                f" provisioned. Error: {fault}",
            )
        location = await self._new_location(new_id)
        await self._write_metadata(location, collection)
        # The real service leaves the top-level user_metadata out here, and so it is lost.
        moved = DatasetDomainInfo(
            **_derived(collection), s3=location, release_status=ReleaseStatus.NOT_RELEASED
        )
        try:
            self.registry.update(user, new_id, moved, _NEW_LOCATION_REASON)
        except HTTPException as error:
            raise _unexpected(error, f"{new_id}: Version succeeded, but dataset update") from error
        return VersionAnswer(new_version_id=new_id, version_job_session_id=session)

    def _editable(self, user: User, handle: str) -> ItemDataset:
        answer = self.fetch(user, handle)
        if answer.locked:
            raise HTTPException(401, "This dataset is locked - you cannot modify the metadata.")
        if not set(_EDITORS) & set(answer.roles or ()):
            raise HTTPException(
                401, "You do not have sufficient permissions to modify this dataset's metadata."
            )
        assert answer.item is not None
        return answer.item

    async def _replace(
        self, user: User, item: ItemDataset, collection: CollectionFormat, reason: str
    ) -> None:
        domain = DatasetDomainInfo(
            **_derived(collection),
            user_metadata=collection.dataset_info.user_metadata,
            s3=item.s3,
            release_history=item.release_history,
            release_status=item.release_status,
            release_approver=item.release_approver,
            release_timestamp=item.release_timestamp,
        )
        try:
            self.registry.update(user, item.id, domain, reason)
        except HTTPException as error:
            raise _upstream(error, "dataset update") from error
        await self._write_metadata(item.s3, collection)

    async def _new_location(self, handle: str) -> S3Location:
        location = location_of(self._storage.bucket, handle)
        # Without the slash, as the real service probes: '…-19' counts as taken if '…-190' exists.
        if await self._storage.exists_prefix(location.path.rstrip("/")):
            raise HTTPException(400, f"Failed to find a unique S3 path for {handle}.")
        return location

    async def _write_metadata(self, location: S3Location, collection: CollectionFormat) -> None:
        document = json.dumps(without_nulls(collection), indent=2)
        await self._storage.put(location.path + METADATA_NAME, document.encode())

    def _own_fault(self, collection: CollectionFormat) -> str | None:
        if collection.dataset_info.version is not None:
            return f"{_SCHEMA_FAULT} Additional properties are not allowed ('version')."
        return field_fault(collection)

    def _registry_fault(self, collection: CollectionFormat) -> str | None:
        domain = DatasetDomainInfo(
            **_derived(collection),
            s3=location_of(self._storage.bucket, "validation"),
            release_status=ReleaseStatus.NOT_RELEASED,
        )
        fault = self.registry.fault(domain)
        if fault is None:
            return None
        return f"Registry API responded with an error during validation, error: {fault}"


def location_of(bucket: str, handle: str) -> S3Location:
    """The folder that belongs to a handle."""
    folder = handle.replace(".", "-").replace("/", "-").strip()
    path = f"datasets/{folder}/"
    return S3Location(bucket_name=bucket, path=path, s3_uri=f"s3://{bucket}/{path}")


def _derived(collection: CollectionFormat) -> dict[str, Any]:
    info = collection.dataset_info
    return {
        "display_name": info.name,
        "collection_format": collection,
        "access_info_uri": info.access_info.uri,
    }


def _upstream(error: HTTPException, during: str) -> HTTPException:
    """A refusal of the registry as the data store passes it on: 401 stays, the rest is 500."""
    status = 401 if error.status_code == 401 else 500
    return HTTPException(
        status,
        f"The registry API refused during {during}."
        f" Status code: {error.status_code}. Details: {error.detail}",
    )


def _unexpected(error: HTTPException, process: str) -> HTTPException:
    status = 401 if error.status_code == 401 else 500
    return HTTPException(
        status,
        f"Unexpected non 200 status code in dataset {process} process."
        f" Status code: {error.status_code}. Details: {error.detail}",
    )
