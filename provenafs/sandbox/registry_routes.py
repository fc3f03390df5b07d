"""The routes of the registry API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from ProvenaInterfaces.RegistryModels import ROLE_METADATA_MAP, ItemSubType

from provenafs.sandbox.checks import add_access_checks
from provenafs.sandbox.endpoint import Call, Nothing, authenticate, checked
from provenafs.sandbox.errors import Crash
from provenafs.sandbox.kinds import (
    ADMIN,
    DATASET_ROLES,
    METADATA_ROLES,
    READ,
    WRITE,
    LockAction,
    RecordFilter,
)
from provenafs.sandbox.messages import (
    AccessSettings,
    CreateAnswer,
    FetchQuery,
    FilterOptions,
    GeneralPage,
    ItemQuery,
    LockChange,
    LockHistory,
    ReviewPage,
    StatusAnswer,
    SubtypePage,
    failed,
    succeeded,
)
from provenafs.sandbox.records import SUBTYPES, DatasetDomainInfo, DomainInfo, Subtype
from provenafs.sandbox.registry import parsed_item
from provenafs.sandbox.store import Document

_USER_CONTEXT = "X-User-Context"
_PROXY_ROUTES = (
    ("GET", "fetch"),
    ("POST", "seed"),
    ("POST", "create"),
    ("PUT", "update"),
    ("PUT", "revert"),
    ("POST", "version"),
)

router = APIRouter()
add_access_checks(router)


def _subtype_router(subtype: Subtype) -> APIRouter:
    """The routes that every kind of item has."""
    name, routes = subtype.name, APIRouter()

    @routes.get("/fetch")
    @checked(READ, query=FetchQuery)
    async def fetch(call: Call[FetchQuery, Nothing]) -> Any:
        query = call.query
        return call.services.registry.fetch(
            call.user, query.id, name, seed_allowed=query.seed_allowed
        )

    @routes.post("/list")
    @checked(READ, body=SubtypePage)
    async def list_items(call: Call[Nothing, SubtypePage]) -> Any:
        options = call.body.filter_by
        records = RecordFilter.COMPLETE_ONLY if options is None else options.record_type
        return call.services.lists.of_subtype(call.user, name, call.body, records)

    @routes.get("/schema")
    @checked(READ)
    async def schema(call: Call[Nothing, Nothing]) -> Any:
        shown = subtype.domain_info.schema()
        return {"status": succeeded("Successfully generated schema.").dict(), "json_schema": shown}

    @routes.get("/ui_schema")
    @checked(READ)
    async def ui_schema(call: Call[Nothing, Nothing]) -> Any:
        return {"status": succeeded("Successfully generated schema.").dict(), "ui_schema": {}}

    @routes.delete("/delete")
    @checked(ADMIN, query=ItemQuery)
    async def delete(call: Call[ItemQuery, Nothing]) -> Any:
        # Whatever the id names goes: the real routes do not look at its subtype either.
        call.services.registry.delete(call.query.id)
        return StatusAnswer(status=succeeded("Successfully deleted item."))

    _add_access_routes(routes, subtype)
    _add_lock_routes(routes, subtype)
    return routes


def _add_content_routes(routes: APIRouter, subtype: Subtype) -> None:
    """Checking content, and, for what does not go through another service, creating items."""

    @routes.post("/validate")
    @checked(READ, body=subtype.domain_info)
    async def validate(call: Call[Nothing, DomainInfo]) -> Any:
        fault = call.services.registry.fault(call.body)
        return StatusAnswer(
            status=failed(fault) if fault else succeeded("Successfully validated item.")
        )

    if subtype.domain_info is DatasetDomainInfo:
        return

    @routes.post("/create")
    @checked(WRITE, body=subtype.domain_info)
    async def create(call: Call[Nothing, DomainInfo]) -> Any:
        fault = call.services.registry.fault(call.body)
        if fault is not None:
            return CreateAnswer(status=failed(fault))
        item = call.services.registry.create(call.user, subtype.name, call.body)
        return CreateAnswer(
            status=succeeded("Successfully created item."), created_item=parsed_item(item)
        )


def _add_access_routes(routes: APIRouter, subtype: Subtype) -> None:
    known = _roles_of(subtype)

    @routes.get("/auth/evaluate")
    @checked(READ, query=ItemQuery)
    async def evaluate(call: Call[ItemQuery, Nothing]) -> Any:
        item = call.services.registry.existing(call.query.id)
        return {"roles": call.services.access.roles(call.user, item)}

    @routes.get("/auth/configuration")
    @checked(READ, query=ItemQuery)
    async def configuration(call: Call[ItemQuery, Nothing]) -> Any:
        item = _administered(call, call.query.id, subtype)
        return call.services.access.settings(item["id"])

    @routes.put("/auth/configuration")
    @checked(WRITE, query=ItemQuery, body=AccessSettings)
    async def configure(call: Call[ItemQuery, AccessSettings]) -> Any:
        item = _administered(call, call.query.id, subtype)
        settings, access = call.body, call.services.access
        if settings.owner != access.settings(item["id"]).owner:
            raise HTTPException(400, "The owner of an item cannot be changed.")
        named = {*settings.general, *(role for group in settings.groups.values() for role in group)}
        if not named <= set(known):
            raise HTTPException(400, f"Unknown roles: {', '.join(sorted(named - set(known)))}.")
        access.write_settings(item["id"], settings)
        return StatusAnswer(status=succeeded("Successfully updated access settings."))

    @routes.get("/auth/roles")
    @checked(READ)
    async def describe_roles(call: Call[Nothing, Nothing]) -> Any:
        return {"roles": [ROLE_METADATA_MAP[role].model_dump() for role in known]}


def _add_lock_routes(routes: APIRouter, subtype: Subtype) -> None:
    def add_change(action: LockAction) -> None:
        @routes.put(f"/locks/{action.lower()}")
        @checked(WRITE, body=LockChange)
        async def change(call: Call[Nothing, LockChange]) -> Any:
            item = _administered(call, call.body.id, subtype)
            call.services.access.change_lock(item["id"], call.user, action, call.body.reason)
            return StatusAnswer(status=succeeded(f"Successfully {action.lower()}ed item."))

    for action in LockAction:
        add_change(action)

    @routes.get("/locks/history")
    @checked(READ, query=ItemQuery)
    async def history(call: Call[ItemQuery, Nothing]) -> Any:
        item = _readable(call)
        return LockHistory(
            status=succeeded("Successfully fetched lock history."),
            history=call.services.access.lock_history(item["id"]),
        )

    @routes.get("/locks/locked")
    @checked(READ, query=ItemQuery)
    async def locked(call: Call[ItemQuery, Nothing]) -> Any:
        return {"locked": call.services.access.is_locked(_readable(call)["id"])}


def _roles_of(subtype: Subtype) -> list[str]:
    known = DATASET_ROLES if subtype.name is ItemSubType.DATASET else METADATA_ROLES
    return [role.value for role in known]


def _administered(call: Call[Any, Any], item_id: str, subtype: Subtype) -> Document:
    """The row of an item the caller administers; 400 unknown, 401 not, 400 another subtype."""
    item = call.services.registry.existing(item_id)
    call.services.registry.demand_admin(call.user, item)
    if item["item_subtype"] != subtype.name.value:
        raise HTTPException(400, f"The item {item_id} is not a {subtype.name.value}.")
    return item


def _readable(call: Call[ItemQuery, Nothing]) -> Document:
    item = call.services.registry.existing(call.query.id)
    call.services.registry.demand_read(call.user, item)
    return item


dataset_router = _subtype_router(SUBTYPES[ItemSubType.DATASET.value])


@dataset_router.post("/user/releases")
@checked(READ, body=ReviewPage)
async def list_releases(call: Call[Nothing, ReviewPage]) -> Any:
    """The datasets the caller was asked to review."""
    reviewer = call.body.filter_by.release_reviewer
    if reviewer is None:
        raise HTTPException(400, "A release reviewer must be provided.")
    if call.services.registry.demand_person(call.user.username) != reviewer:
        raise HTTPException(403, "You may only list the datasets that you review yourself.")
    return call.services.lists.of_reviewer(call.user, call.body, call.body.filter_by, reviewer)


async def _refuse_proxy(request: Request) -> Response:
    """Refuses routes that only other services may call, recognised by a header."""
    authenticate(request.app.state.services.tokens, request, ())
    if _USER_CONTEXT not in request.headers:
        raise HTTPException(
            400,
            f"No {_USER_CONTEXT} header present. User context unavailable for proxy route.",
        )
    raise Crash  # it cannot be decrypted


for _method, _action in _PROXY_ROUTES:
    dataset_router.add_api_route(f"/proxy/{_action}", _refuse_proxy, methods=[_method])
router.add_api_route("/registry/general/proxy/fetch", _refuse_proxy, methods=["GET"])
_add_content_routes(dataset_router, SUBTYPES[ItemSubType.DATASET.value])
router.include_router(dataset_router, prefix="/registry/entity/dataset")

for _agent in (ItemSubType.ORGANISATION, ItemSubType.PERSON):
    _routes = _subtype_router(SUBTYPES[_agent.value])
    _add_content_routes(_routes, SUBTYPES[_agent.value])
    router.include_router(_routes, prefix=f"/registry/agent/{_agent.value.lower()}")

for _activity in (ItemSubType.CREATE, ItemSubType.VERSION):
    router.include_router(
        _subtype_router(SUBTYPES[_activity.value]),
        prefix=f"/registry/activity/{_activity.value.lower()}",
    )


@router.get("/registry/general/fetch")
@checked(READ, query=ItemQuery)
async def general_fetch(call: Call[ItemQuery, Nothing]) -> Any:
    """An item of any kind, as it is stored."""
    item_id, services = call.query.id, call.services
    if not item_id:
        raise Crash
    item = services.store.item(item_id)
    if item is None:
        return {"status": failed(f"There is no item of id {item_id}.").dict(), "item": None}
    services.registry.demand_read(call.user, item)
    return {"status": succeeded("Successfully fetched item.").dict(), "item": item}


@router.post("/registry/general/list")
@checked(READ, body=GeneralPage)
async def general_list(call: Call[Nothing, GeneralPage]) -> Any:
    """One page of items of every kind."""
    options = call.body.filter_by or FilterOptions()
    return call.services.lists.general(call.user, call.body, options)


@router.delete("/registry/general/delete")
@checked(ADMIN, query=ItemQuery)
async def general_delete(call: Call[ItemQuery, Nothing]) -> Any:
    """Remove an item of any kind."""
    call.services.registry.delete(call.query.id)
    return StatusAnswer(status=succeeded("Successfully deleted item."))


@router.get("/registry/general/about/version")
@checked(READ)
async def about_version(call: Call[Nothing, Nothing]) -> Any:
    """Which release is deployed: none that has a commit."""
    fields = ("commit_id", "commit_url", "tag_name", "release_title", "release_url")
    return dict.fromkeys(fields)
