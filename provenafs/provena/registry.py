"""The registry API: locks, access settings and lists that the data store does not offer."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator
from typing import Any

from ProvenaInterfaces.RegistryModels import AccessSettings, LockEvent
from pydantic import BaseModel

from provenafs.provena.errors import NotFound, Unauthorised
from provenafs.provena.pages import Page, PageKey, pages
from provenafs.provena.records import DatasetRecord, records_of
from provenafs.provena.service import ServiceClient

log = logging.getLogger(__name__)

_DATASET = "/registry/entity/dataset"
_UNKNOWN = {400: NotFound}


class Registry(ServiceClient):
    """The dataset part of the registry API on behalf of one user."""

    async def list_page(self, key: PageKey | None, size: int) -> Page:
        """One page of the datasets, oldest first; rows that cannot be parsed are left out."""
        return await self.page(f"{_DATASET}/list", key, size)

    async def item(self, handle: str) -> dict[str, Any]:
        """Any registry item as stored, such as a Person; raises NotFound, Unauthorised."""
        document = await self.call("GET", "/registry/general/fetch", params={"id": handle})
        item = self.succeeded(document, NotFound).get("item")
        if not isinstance(item, dict):
            raise NotFound(f"the registry has no item {handle}")
        return item

    async def roles(self, handle: str) -> frozenset[str]:
        """This user's roles on an item, perhaps none; raises NotFound."""
        document = await self.call(
            "GET", f"{_DATASET}/auth/evaluate", params={"id": handle}, errors=_UNKNOWN
        )
        return frozenset(self.parsed(_Roles, document).roles)

    async def access(self, handle: str) -> AccessSettings:
        """The access settings; raises Unauthorised unless the user has the admin role on it."""
        document = await self.call(
            "GET", f"{_DATASET}/auth/configuration", params={"id": handle}, errors=_UNKNOWN
        )
        return self.parsed(AccessSettings, document)

    async def set_access(self, handle: str, settings: AccessSettings) -> None:
        """Replace who may do what; the owner cannot be changed."""
        document = await self.call(
            "PUT",
            f"{_DATASET}/auth/configuration",
            params={"id": handle},
            json=settings.model_dump(mode="json"),
        )
        self.succeeded(document)

    async def lock(self, handle: str, reason: str) -> None:
        """Stop changes to the dataset; raises Invalid if it is locked already."""
        await self._change_lock("lock", handle, reason)

    async def unlock(self, handle: str, reason: str) -> None:
        """Allow changes again; raises Invalid if it is not locked."""
        await self._change_lock("unlock", handle, reason)

    async def is_locked(self, handle: str) -> bool:
        """Whether the dataset is locked."""
        document = await self.call(
            "GET", f"{_DATASET}/locks/locked", params={"id": handle}, errors=_UNKNOWN
        )
        return self.parsed(_LockStatus, document).locked

    async def lock_history(self, handle: str) -> list[LockEvent]:
        """The lock history, oldest first."""
        document = await self.call(
            "GET", f"{_DATASET}/locks/history", params={"id": handle}, errors=_UNKNOWN
        )
        return list(self.rows(LockEvent, self.succeeded(document).get("history")))

    async def reviews(self, person: str) -> AsyncIterator[DatasetRecord]:
        """The datasets whose release this Person, the user's own, was asked to approve."""
        async for page in pages(functools.partial(self._review_page, person)):
            for record in records_of(page.items, _warn):
                yield record

    async def _change_lock(self, verb: str, handle: str, reason: str) -> None:
        document = await self.call(
            "PUT",
            f"{_DATASET}/locks/{verb}",
            json={"id": handle, "reason": reason},
            idempotent=False,
        )
        self.succeeded(document)

    async def _review_page(self, person: str, key: PageKey | None, size: int) -> Page:
        body = {
            "filter_by": {"release_reviewer": person},
            # The only order that the service has an index for.
            "sort_by": {"sort_type": "RELEASE_TIMESTAMP", "ascending": False},
            "pagination_key": key,
            "page_size": size,
        }
        document = await self.call(
            "POST",
            f"{_DATASET}/user/releases",
            json=body,
            attempts=2,
            errors={403: Unauthorised},
        )
        return self.page_of(document, "dataset_items")


# Those of ProvenaInterfaces.RegistryAPI take a fifth of a second to import, at every mount.
class _Roles(BaseModel):
    roles: list[str]


class _LockStatus(BaseModel):
    locked: bool


def _warn(why: str) -> None:
    log.warning("a dataset is left out of the list of reviews: %s", why)
