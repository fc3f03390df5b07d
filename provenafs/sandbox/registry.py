"""The rules of the registry: creating, changing, versioning and deleting items."""

from __future__ import annotations

import json
import time
from typing import Any

from fastapi import HTTPException
from ProvenaInterfaces.RegistryModels import ItemSubType
from pydantic.v1 import ValidationError

from provenafs.sandbox.access import AccessControl
from provenafs.sandbox.ewkt import ewkt_fault
from provenafs.sandbox.jobs import Jobs
from provenafs.sandbox.kinds import METADATA_ROLES, ItemRole, RecordType
from provenafs.sandbox.messages import FetchAnswer, failed, succeeded
from provenafs.sandbox.records import (
    SUBTYPES,
    CompleteItem,
    CreateDomainInfo,
    DatasetDomainInfo,
    DomainInfo,
    HistoryEntry,
    PersonDomainInfo,
    SeededItem,
    VersionDomainInfo,
    VersioningInfo,
    WorkflowLinks,
    without_nulls,
)
from provenafs.sandbox.store import Document, Store
from provenafs.sandbox.users import User

HANDLE_PREFIX = "10378.1"
_FIRST_HANDLE = 1_000_001  # every handle the sandbox will ever mint has the same length
_MAX_ROW_BYTES = 400 * 1024  # DynamoDB's
_WRITERS = (ItemRole.METADATA_WRITE, ItemRole.ADMIN)


class Registry:
    """The items of the sandbox. Refusals are HTTP errors, as the registry service answers them."""

    def __init__(self, store: Store, access: AccessControl, jobs: Jobs) -> None:
        self._store = store
        self.access = access
        self._jobs = jobs

    def existing(self, item_id: str) -> Document:
        """The row of an item; 400 if there is none, 500 for an empty id."""
        if not item_id:
            raise HTTPException(
                500,
                "An unexpected error occurred while reading from the registry: ID cannot be empty.",
            )
        item = self._store.item(item_id)
        if item is None:
            raise HTTPException(400, f"The item with id {item_id} does not exist in the registry.")
        return item

    def fetch(
        self, user: User, item_id: str, subtype: ItemSubType, *, seed_allowed: bool = False
    ) -> FetchAnswer:
        """An item with the caller's roles; success=false if unknown, 401 without access."""
        item = self._store.item(item_id)
        is_seed = item is not None and item["record_type"] == RecordType.SEED_ITEM
        foreign = item is not None and item["item_subtype"] != subtype.value
        if item is None or (is_seed and not seed_allowed) or (foreign and not is_seed):
            return FetchAnswer(status=failed(f"Could not find a {subtype.value} of id {item_id!r}"))
        if foreign:
            raise HTTPException(400, f"The seed item {item_id} is not a {subtype.value}.")
        roles = self.demand_read(user, item)
        try:
            parsed = SeededItem.parse_obj(item) if is_seed else parsed_item(item)
        except ValidationError:
            return FetchAnswer(status=failed(f"The item {item_id} could not be parsed."))
        return FetchAnswer(
            status=succeeded("Successfully fetched item."),
            item=parsed,
            roles=roles,
            locked=self.access.is_locked(item_id),
            item_is_seed=is_seed,
        )

    def demand_read(self, user: User, item: Document) -> list[str]:
        """The user's roles on an item; 401 unless they may see it."""
        return self.access.demand(
            user, item, METADATA_ROLES, "You are not authorised to fetch this item."
        )

    def demand_admin(self, user: User, item: Document) -> None:
        """401 unless the user administers the item."""
        self.access.demand(
            user, item, (ItemRole.ADMIN,), "You are not authorised to perform this action."
        )

    def demand_person(self, username: str) -> str:
        """The id of the caller's Person; 400 if none is linked."""
        person = self.access.person_of(username)
        if person is None:
            raise HTTPException(
                400,
                "In order to perform this operation you must link your user account"
                " to a registered Person.",
            )
        return person

    def seed(self, user: User, subtype: ItemSubType) -> Document:
        """A new handle without an item yet; 400 if the caller has no Person."""
        if subtype is not ItemSubType.PERSON:
            self.demand_person(user.username)
        return self._new_seed(user, subtype)

    def create(self, user: User, subtype: ItemSubType, domain: DomainInfo) -> Document:
        """A new complete item, whose content must hold."""
        return self.complete(user, self.seed(user, subtype)["id"], domain)

    def complete(self, user: User, item_id: str, domain: DomainInfo) -> Document:
        """Turn a seed into a complete item and, of what has versions, register its creation."""
        item = self.existing(item_id)
        item["record_type"] = RecordType.COMPLETE_ITEM
        _replace_domain(item, domain)
        _add_history(item, user, domain, "Initial record creation")
        self._write(item)
        if not SUBTYPES[item["item_subtype"]].has_versions:
            return item
        activity = self._register_activity(
            user,
            ItemSubType.CREATE,
            CreateDomainInfo(display_name=f"Create {item_id}", created_item_id=item_id),
        )
        payload = {"created_item_id": item_id, "created_item_subtype": item["item_subtype"]}
        session = self._jobs.run_registration(user.username, "CREATE", payload, activity)
        item["workflow_links"] = {"create_activity_workflow_id": session}
        self._write(item)
        return item

    def update(
        self,
        user: User,
        item_id: str,
        domain: DomainInfo,
        reason: str | None,
        *,
        as_service: bool = False,
    ) -> Document:
        """Replace an item's content; without a reason it leaves no history entry.

        `as_service` passes over the item's roles, which a reviewer's decision needs.
        """
        item = self.existing(item_id)
        if not as_service:
            self.access.demand(user, item, _WRITERS, "You are not authorised to update this item.")
        if self.access.is_locked(item_id):
            raise HTTPException(401, "This item is locked - you cannot modify it.")
        self.demand_person(user.username)
        fault = self.fault(domain)
        if fault is not None:
            raise HTTPException(400, fault)
        _replace_domain(item, domain)
        if reason is not None:
            _add_history(item, user, domain, reason)
        item["updated_timestamp"] = int(time.time())
        self._write(item)
        return item

    def version(self, user: User, item_id: str, reason: str) -> tuple[Document, str]:
        """A copy of an item as its next version, and the session id of the job that records it."""
        self.demand_person(user.username)
        old = self.existing(item_id)
        self.demand_admin(user, old)
        if old["record_type"] == RecordType.SEED_ITEM:
            raise HTTPException(400, "Cannot create a version of a seed item.")
        versioning = VersioningInfo.parse_obj(old["versioning_info"])
        if versioning.next_version is not None:
            raise HTTPException(
                400, f"The item already has a next version ({versioning.next_version})."
            )
        new = self.seed(user, ItemSubType(old["item_subtype"]))
        new_id, number = new["id"], versioning.version + 1
        self.access.copy(item_id, new_id, user.username)
        new["record_type"] = RecordType.COMPLETE_ITEM
        new["versioning_info"] = without_nulls(
            VersioningInfo(previous_version=item_id, version=number, reason=reason)
        )
        domain = domain_of(old)
        _replace_domain(new, domain)
        _add_history(new, user, domain, f"New version of existing item (id={item_id}).")
        session = self._register_version(user, item_id, new_id, number, reason)
        new["workflow_links"] = without_nulls(WorkflowLinks(version_activity_workflow_id=session))
        self._write(new)
        old["versioning_info"]["next_version"] = new_id
        self._write(old)
        return new, session

    def delete(self, item_id: str) -> None:
        """Remove an item, its settings and its lock; 401 if it is locked."""
        self.existing(item_id)
        if self.access.is_locked(item_id):
            raise HTTPException(401, "This item is locked - you cannot delete it.")
        self._store.remove_item(item_id)
        self.access.forget(item_id)

    def fault(self, domain: DomainInfo) -> str | None:
        """The first validation error of an item's content, or None."""
        text = None
        if isinstance(domain, DatasetDomainInfo):
            text = self._dataset_fault(domain)
        elif isinstance(domain, PersonDomainInfo) and not domain.ethics_approved:
            text = "consent to the registration of this person has not been given."
        return None if text is None else f"Validation Error: {text}"

    def is_complete(self, item_id: str, subtype: ItemSubType) -> bool:
        """Whether an id names a complete item of this subtype."""
        item = self._store.item(item_id)
        return (
            item is not None
            and item["item_subtype"] == subtype.value
            and item["record_type"] == RecordType.COMPLETE_ITEM
        )

    def _dataset_fault(self, domain: DatasetDomainInfo) -> str | None:
        info, associations = (
            domain.collection_format.dataset_info,
            domain.collection_format.associations,
        )
        references = [
            ("organisation_id", associations.organisation_id, ItemSubType.ORGANISATION),
            ("publisher_id", info.publisher_id, ItemSubType.ORGANISATION),
            ("data_custodian_id", associations.data_custodian_id, ItemSubType.PERSON),
        ]
        for field, item_id, subtype in references:
            if item_id is not None and not self.is_complete(item_id, subtype):
                return f"{field} {item_id!r} is not a complete {subtype.value} of the registry."
        if info.spatial_info is None:
            return None
        for field in ("coverage", "extent"):
            geometry: str | None = getattr(info.spatial_info, field)
            fault = None if geometry is None else ewkt_fault(geometry)
            if fault is not None:
                return f"the spatial {field} is not valid EWKT, {fault}"
        return None

    def _register_version(
        self, user: User, old_id: str, new_id: str, number: int, reason: str
    ) -> str:
        domain = VersionDomainInfo(
            display_name=f"Version {number} of {old_id}",
            reason=reason,
            from_item_id=old_id,
            to_item_id=new_id,
            new_version_number=number,
        )
        activity = self._register_activity(user, ItemSubType.VERSION, domain)
        payload = {"from_version_id": old_id, "to_version_id": new_id, "version": number}
        return self._jobs.run_registration(user.username, "VERSION", payload, activity)

    def _register_activity(self, user: User, subtype: ItemSubType, domain: DomainInfo) -> str:
        item = self._new_seed(user, subtype)
        item["record_type"] = RecordType.COMPLETE_ITEM
        _replace_domain(item, domain)
        _add_history(item, user, domain, "Initial record creation")
        self._write(item)
        return str(item["id"])

    def _new_seed(self, user: User, subtype: ItemSubType) -> Document:
        now = int(time.time())
        item: Document = {
            "id": f"{HANDLE_PREFIX}/{self._store.next_number('handle', _FIRST_HANDLE)}",
            "owner_username": user.username,
            "created_timestamp": now,
            "updated_timestamp": now,
            "item_category": SUBTYPES[subtype.value].category.value,
            "item_subtype": subtype.value,
            "record_type": RecordType.SEED_ITEM,
            "universal_partition_key": "OK",
        }
        if SUBTYPES[subtype.value].has_versions:
            item["versioning_info"] = {"version": 1}
        self._store.put_item(item)
        self.access.open(item["id"], subtype.value, user.username)
        return item

    def _write(self, item: Document) -> None:
        if len(json.dumps(item, ensure_ascii=False).encode()) > _MAX_ROW_BYTES:
            raise HTTPException(500, "Item size has exceeded the maximum allowed size.")
        self._store.put_item(item)


def parsed_item(item: Document) -> CompleteItem:
    """A stored row as its subtype's model; ValidationError if it cannot be one."""
    return SUBTYPES[item["item_subtype"]].item.parse_obj(item)


def domain_of(item: Document) -> DomainInfo:
    """The content of a stored row."""
    return SUBTYPES[item["item_subtype"]].domain_info.parse_obj(item)


def _replace_domain(item: Document, domain: DomainInfo) -> None:
    for field in domain.__fields__:
        item.pop(field, None)
    item.update(without_nulls(domain))


def _add_history(item: Document, user: User, domain: DomainInfo, reason: str) -> None:
    history: list[dict[str, Any]] = item.get("history", [])
    entry = HistoryEntry(
        id=max((entry["id"] for entry in history), default=-1) + 1,
        timestamp=int(time.time()),
        reason=reason,
        username=user.username,
    )
    item["history"] = [{**without_nulls(entry), "item": without_nulls(domain)}, *history]
