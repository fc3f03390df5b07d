"""The routes of the auth API that matter to a user of datasets: links, groups, access."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from ProvenaInterfaces.AuthAPI import AUTHORISATION_MODEL
from ProvenaInterfaces.RegistryModels import ItemSubType
from pydantic.v1 import BaseModel

from provenafs.sandbox.checks import show_user
from provenafs.sandbox.endpoint import Call, Nothing, checked
from provenafs.sandbox.kinds import ItemRole, RealmRole
from provenafs.sandbox.messages import Status, StatusAnswer, failed, succeeded
from provenafs.sandbox.store import Document, Kind

router = APIRouter()

_SYSTEM_READ = (RealmRole.SYSTEM_READ,)
_SYSTEM_WRITE = (RealmRole.SYSTEM_WRITE,)
_LINKED = "You are already linked to a Person."
_NOT_OWNED = "You cannot link yourself to a Person that you do not own."
_GROUP_FIELDS = ("id", "display_name", "description", "default_data_store_access")


class _UserQuery(BaseModel):
    username: str | None = None


class _UsernameQuery(BaseModel):
    username: str


class _PersonQuery(BaseModel):
    person_id: str


class _GroupQuery(BaseModel):
    id: str


class _MembershipQuery(BaseModel):
    group_id: str


class _PersonLink(BaseModel):
    person_id: str


class _UserPersonLink(_PersonLink):
    username: str


@router.get("/check-access/public")
async def check_public() -> dict[str, str]:
    return {"message": "Public access is available."}


router.get("/check-access/general")(checked(())(show_user))


@router.get("/link/user/lookup")
@checked((), query=_UserQuery)
async def lookup_own(call: Call[_UserQuery, Nothing]) -> Any:
    return _looked_up(call, call.query.username or call.user.username)


@router.post("/link/user/assign")
@checked((), body=_PersonLink)
async def assign_own(call: Call[Nothing, _PersonLink]) -> Any:
    if call.services.access.person_of(call.user.username) is not None:
        raise HTTPException(400, _LINKED)
    if not _owns(call, call.body.person_id):
        raise HTTPException(401, _NOT_OWNED)
    _link(call, call.user.username, call.body.person_id)
    return {}


@router.post("/link/user/validate")
@checked((), body=_PersonLink)
async def validate_own(call: Call[Nothing, _PersonLink]) -> Any:
    if call.services.access.person_of(call.user.username) is not None:
        return StatusAnswer(status=failed(_LINKED))
    if not _owns(call, call.body.person_id):
        return StatusAnswer(status=failed(_NOT_OWNED))
    return StatusAnswer(status=succeeded("The link can be made."))


@router.get("/link/admin/lookup")
@checked(_SYSTEM_READ, query=_UsernameQuery)
async def lookup(call: Call[_UsernameQuery, Nothing]) -> Any:
    return _looked_up(call, call.query.username)


@router.post("/link/admin/assign")
@checked((*_SYSTEM_WRITE, RealmRole.REGISTRY_READ), body=_UserPersonLink)
async def assign(call: Call[Nothing, _UserPersonLink]) -> Any:
    if call.services.access.person_of(call.body.username) is not None:
        raise HTTPException(400, "The user is already linked to a Person.")
    _demand_person(call, call.body.person_id)
    _link(call, call.body.username, call.body.person_id)
    return {}


@router.delete("/link/admin/clear")
@checked(_SYSTEM_WRITE, query=_UsernameQuery)
async def clear(call: Call[_UsernameQuery, Nothing]) -> Any:
    call.services.store.remove(Kind.LINK, call.query.username)
    return {}


@router.get("/link/admin/reverse_lookup")
@checked(_SYSTEM_READ, query=_PersonQuery)
async def reverse_lookup(call: Call[_PersonQuery, Nothing]) -> Any:
    links = call.services.store.all(Kind.LINK)
    person = call.query.person_id
    return {"usernames": [name for name, link in links if link["person_id"] == person]}


@router.get("/groups/user/list_groups")
@checked(())
async def list_groups(call: Call[Nothing, Nothing]) -> Any:
    groups = call.services.store.all(Kind.GROUP)
    return _groups_answer([group for _, group in groups])


@router.get("/groups/user/list_user_membership")
@checked(())
async def list_membership(call: Call[Nothing, Nothing]) -> Any:
    groups = [group for _, group in call.services.store.all(Kind.GROUP)]
    return _groups_answer([group for group in groups if call.user.username in group["members"]])


@router.get("/groups/user/describe_group")
@checked((), query=_GroupQuery)
async def describe_group(call: Call[_GroupQuery, Nothing]) -> Any:
    group = _group(call, call.query.id)
    if group is None:
        return {"status": _no_group(call.query.id).dict(), "group": None}
    return {"status": succeeded("Found group.").dict(), "group": _shown(group)}


@router.get("/groups/user/list_members")
@checked((), query=_GroupQuery)
async def list_members(call: Call[_GroupQuery, Nothing]) -> Any:
    group = _group(call, call.query.id)
    if group is None:
        return {"status": _no_group(call.query.id).dict(), "group": None}
    if call.user.username not in group["members"]:
        status = failed(f"You are not a member of group with id {call.query.id}.")
        return {"status": status.dict(), "group": None}
    people = ("email", "first_name", "last_name")
    users = [{"username": name, **dict.fromkeys(people)} for name in group["members"]]
    status = succeeded("Listed members.")
    return {"status": status.dict(), "group": {**_shown(group), "users": users}}


@router.get("/groups/user/check_membership")
@checked((), query=_MembershipQuery)
async def check_membership(call: Call[_MembershipQuery, Nothing]) -> Any:
    group = _group(call, call.query.group_id)
    if group is None:
        return {"status": _no_group(call.query.group_id).dict(), "is_member": None}
    member = call.user.username in group["members"]
    return {"status": succeeded("Checked membership.").dict(), "is_member": member}


@router.get("/access-control/user/generate-access-report")
@checked(())
async def access_report(call: Call[Nothing, Nothing]) -> Any:
    components = AUTHORISATION_MODEL.model_dump(mode="json")["components"]
    for component in components:
        for role in component["component_roles"]:
            role["access_granted"] = role["role_name"] in call.user.roles
    status = succeeded("Generated access report.").dict()
    return {"status": status, "report": {"components": components}}


def _looked_up(call: Call[Any, Any], username: str) -> Document:
    person = call.services.access.person_of(username)
    return {"person_id": person, "success": person is not None}


def _owns(call: Call[Nothing, _PersonLink], person_id: str) -> bool:
    """Whether a Person is the caller's own; 401 unless they administer it, 500 if there is none."""
    _demand_person(call, person_id)
    person = call.services.registry.existing(person_id)
    call.services.access.demand(
        call.user,
        person,
        (ItemRole.ADMIN,),
        "Registry did not grant access to the auth configuration for this person.",
    )
    return call.services.access.settings(person_id).owner == call.user.username


def _demand_person(call: Call[Any, Any], person_id: str) -> None:
    if not call.services.registry.is_complete(person_id, ItemSubType.PERSON):
        raise HTTPException(500, f"Failed to fetch a Person of id {person_id}.")


def _link(call: Call[Any, Any], username: str, person_id: str) -> None:
    call.services.store.put(Kind.LINK, username, {"person_id": person_id})


def _group(call: Call[Any, Any], group_id: str) -> Document | None:
    if not group_id:
        raise HTTPException(500, "Failed to access database: an id cannot be empty.")
    return call.services.store.get(Kind.GROUP, group_id)


def _no_group(group_id: str) -> Status:
    return failed(f"No group with id {group_id} was found.")


def _groups_answer(groups: list[Document]) -> Document:
    shown = [_shown(group) for group in groups]
    return {"status": succeeded("Listed groups.").dict(), "groups": shown}


def _shown(group: Document) -> Document:
    return {field: group[field] for field in _GROUP_FIELDS}
