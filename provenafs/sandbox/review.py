"""The release state machine: NOT_RELEASED, asked for PENDING, approved RELEASED or sent back."""

from __future__ import annotations

import time
from collections.abc import Iterable

from fastapi import HTTPException
from ProvenaInterfaces.RegistryModels import ItemSubType

from provenafs.sandbox.datastore import DataStore
from provenafs.sandbox.errors import Crash
from provenafs.sandbox.kinds import ItemRole, ReleaseAction, ReleaseStatus
from provenafs.sandbox.messages import ReleaseRequest, ReviewRequest
from provenafs.sandbox.records import DatasetDomainInfo, ItemDataset, ReleaseHistoryEntry
from provenafs.sandbox.store import Kind, Store
from provenafs.sandbox.users import User


class Reviews:
    """The reviewers, and the requests made of them."""

    def __init__(self, store: Store, datastore: DataStore) -> None:
        self._store = store
        self._datastore = datastore
        self._registry = datastore.registry

    def reviewers(self) -> Iterable[str]:
        """The listed ids; nobody has checked that each is a Person."""
        return [reviewer for reviewer, _ in self._store.all(Kind.REVIEWER)]

    def add_reviewer(self, reviewer: str) -> None:
        """List an id; listing it again changes nothing."""
        if not reviewer:
            raise HTTPException(500, "The reviewer could not be written to the table.")
        self._store.put(Kind.REVIEWER, reviewer, {})

    def remove_reviewer(self, reviewer: str) -> None:
        """Take an id off the list; it need not be there."""
        self._store.remove(Kind.REVIEWER, reviewer)

    def request(self, user: User, request: ReleaseRequest) -> None:
        """Ask a reviewer to release a dataset."""
        person = self._registry.demand_person(user.username)
        fetched = self._datastore.fetch(user, request.dataset_id)
        if ItemRole.ADMIN not in (fetched.roles or ()):
            raise HTTPException(401, "You must administer the dataset to request its release.")
        item = fetched.item
        assert item is not None
        if item.release_status is not ReleaseStatus.NOT_RELEASED:
            raise HTTPException(400, f"The dataset is already {item.release_status}.")
        if request.approver_id not in self.reviewers():
            raise HTTPException(400, f"{request.approver_id} is not in the list of reviewers.")
        entry = ReleaseHistoryEntry(
            action=ReleaseAction.REQUEST,
            timestamp=int(time.time()),
            approver=request.approver_id,
            requester=person,
            notes=request.notes,
        )
        try:
            self._save(user, item, ReleaseStatus.PENDING, entry)
        except HTTPException as error:
            status = 401 if error.status_code == 401 else 500
            raise HTTPException(status, f"Failed to request release: {error.detail}") from error
        self._demand_mailable(request.approver_id)

    def decide(self, user: User, request: ReviewRequest) -> None:
        """Release a dataset or send it back, as its reviewer."""
        person = self._registry.demand_person(user.username)
        if person not in self.reviewers():
            raise HTTPException(401, "You are not in the list of reviewers.")
        item = self._datastore.fetch(user, request.dataset_id).item
        assert item is not None
        if item.release_status is not ReleaseStatus.PENDING:
            raise HTTPException(400, "The dataset is not pending review.")
        if item.release_approver != person:
            raise HTTPException(401, "You are not the reviewer who was asked to review this.")
        entry = ReleaseHistoryEntry(
            action=ReleaseAction.APPROVE if request.approve else ReleaseAction.REJECT,
            timestamp=int(time.time()),
            approver=person,
            notes=request.notes,
        )
        status = ReleaseStatus.RELEASED if request.approve else ReleaseStatus.NOT_RELEASED
        try:
            self._save(user, item, status, entry, as_service=True)
        except (HTTPException, Crash) as error:
            raise HTTPException(500, "Failed to update the dataset's release status.") from error

    def _save(
        self,
        user: User,
        item: ItemDataset,
        status: ReleaseStatus,
        entry: ReleaseHistoryEntry,
        *,
        as_service: bool = False,
    ) -> None:
        fields = {name: getattr(item, name) for name in DatasetDomainInfo.__fields__}
        fields.update(
            release_status=status,
            release_approver=entry.approver,
            release_timestamp=entry.timestamp,
            release_history=[*item.release_history, entry],
        )
        domain = DatasetDomainInfo(**fields)
        self._registry.update(user, item.id, domain, None, as_service=as_service)

    def _demand_mailable(self, reviewer: str) -> None:
        """The mail to the reviewer fails after the state was saved, as in the real service."""
        if not self._registry.is_complete(reviewer, ItemSubType.PERSON):
            raise HTTPException(500, "Failed to fetch the reviewer's Person.")
