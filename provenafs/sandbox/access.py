"""Access control of items: settings, locks, and links of users to Persons."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fastapi import HTTPException
from ProvenaInterfaces.RegistryModels import ItemSubType

from provenafs.sandbox.kinds import (
    DATASET_ROLES,
    METADATA_ROLES,
    ItemRole,
    LockAction,
    RealmRole,
)
from provenafs.sandbox.messages import AccessSettings, LockEvent
from provenafs.sandbox.store import Document, Kind, Store
from provenafs.sandbox.users import User


class AccessControl:
    """Item roles, locks, groups and Person links. Refusals are HTTP errors as the registry's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, item_id: str, subtype: str, owner: str) -> None:
        """Give a new item its default settings and an open lock."""
        general: list[str] = [ItemRole.METADATA_READ]
        if subtype == ItemSubType.DATASET.value:
            general.append(ItemRole.DATA_READ)
        self.write_settings(item_id, AccessSettings(owner=owner, general=general, groups={}))
        self._store.put(Kind.LOCK, item_id, {"locked": False, "history": []})

    def copy(self, source_id: str, item_id: str, owner: str) -> None:
        """Give a new version its predecessor's settings under its own owner, and an open lock."""
        settings = self.settings(source_id).copy(update={"owner": owner})
        self.write_settings(item_id, settings)
        self._store.put(Kind.LOCK, item_id, {"locked": False, "history": []})

    def forget(self, item_id: str) -> None:
        """Remove what is known of a deleted item."""
        self._store.remove(Kind.ACCESS, item_id)
        self._store.remove(Kind.LOCK, item_id)

    def settings(self, item_id: str) -> AccessSettings:
        """The access settings of an existing item."""
        return AccessSettings.parse_obj(self._store.get(Kind.ACCESS, item_id))

    def write_settings(self, item_id: str, settings: AccessSettings) -> None:
        """Replace the access settings of an item."""
        self._store.put(Kind.ACCESS, item_id, settings.dict())

    def roles(self, user: User, item: Document) -> list[str]:
        """A user's roles on an item. No role implies another."""
        is_dataset = item["item_subtype"] == ItemSubType.DATASET.value
        full: list[str] = list(DATASET_ROLES if is_dataset else METADATA_ROLES)
        settings = self.settings(item["id"])
        if RealmRole.REGISTRY_ADMIN in user.roles or user.username == settings.owner:
            return full
        granted = set(settings.general)
        for group_id in self.groups_of(user.username):
            granted.update(settings.groups.get(group_id, ()))
        return [role for role in full if role in granted]

    def demand(
        self, user: User, item: Document, accepted: Iterable[str], refusal: str
    ) -> list[str]:
        """The user's roles on an item; 401 with `refusal` unless one of `accepted` is among them.

        Unlike a bad token's, this 401 carries no WWW-Authenticate.
        """
        roles = self.roles(user, item)
        if not set(accepted) & set(roles):
            raise HTTPException(401, refusal)
        return roles

    def is_locked(self, item_id: str) -> bool:
        """Whether an existing item is locked."""
        return bool(self._lock(item_id)["locked"])

    def lock_history(self, item_id: str) -> list[LockEvent]:
        """Every lock and unlock of an item, oldest first."""
        return [LockEvent.parse_obj(event) for event in self._lock(item_id)["history"]]

    def change_lock(self, item_id: str, user: User, action: LockAction, reason: str) -> None:
        """Lock or unlock; 400 if that changes nothing."""
        lock, locking = self._lock(item_id), action is LockAction.LOCK
        if lock["locked"] == locking:
            raise HTTPException(
                400,
                "Resource is already locked."
                if locking
                else "Cannot unlock already unlocked resource.",
            )
        event = {
            "action_type": action,
            "username": user.username,
            "email": user.email,
            "reason": reason,
            "timestamp": int(time.time()),
        }
        self._store.put(
            Kind.LOCK, item_id, {"locked": locking, "history": [*lock["history"], event]}
        )

    def groups_of(self, username: str) -> list[str]:
        """The ids of a user's groups."""
        groups = self._store.all(Kind.GROUP)
        return [group_id for group_id, group in groups if username in group["members"]]

    def person_of(self, username: str) -> str | None:
        """The id of the Person who stands for a user, or None."""
        link = self._store.get(Kind.LINK, username)
        return None if link is None else str(link["person_id"])

    def _lock(self, item_id: str) -> dict[str, Any]:
        lock = self._store.get(Kind.LOCK, item_id)
        assert lock is not None, f"{item_id} has no lock entry"
        return lock
