"""The routes that check a token's access."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from provenafs.sandbox.endpoint import Call, Nothing, checked
from provenafs.sandbox.kinds import ADMIN, READ, WRITE

_LEVELS = {"general": (), "read": READ, "write": WRITE, "admin": ADMIN}


def add_access_checks(router: APIRouter) -> None:
    """The four check-access routes of the data store and the registry."""
    for level, roles in _LEVELS.items():
        router.get(f"/check-access/check-{level}-access")(checked(roles)(show_user))


async def show_user(call: Call[Nothing, Nothing]) -> Any:
    """The caller. Like the real services this returns the token too."""
    user = call.user
    return {
        "username": user.username,
        "email": user.email,
        "roles": sorted(user.roles),
        "access_token": user.access_token,
    }
