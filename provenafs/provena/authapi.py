"""The auth API: the Person linked to a user, and the user's general roles."""

from __future__ import annotations

from ProvenaInterfaces.AuthAPI import (
    UserGroupMetadata,
    UserLinkUserLookupResponse,
)

from provenafs.provena.service import ServiceClient


class AuthApi(ServiceClient):
    """The auth API on behalf of one user."""

    async def person(self) -> str | None:
        """The handle of the Person this user is linked to; minting and reviewing need one."""
        document = await self.call("GET", "/link/user/lookup")
        return self.parsed(UserLinkUserLookupResponse, document).person_id

    async def groups(self) -> list[UserGroupMetadata]:
        """The groups this user is a member of."""
        document = await self.call("GET", "/groups/user/list_user_membership")
        return list(self.rows(UserGroupMetadata, self.succeeded(document).get("groups")))
