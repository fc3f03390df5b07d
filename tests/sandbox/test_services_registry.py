"""The registry API and the reviews: roles, locks, access settings, deletion, release states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from provenafs.sandbox.store import Store
from tests.support.running_services import RunningServices

DATASET = "/registry/entity/dataset"
GENERAL = "/registry/general"
REQUEST = "/release/approval-request"
DECIDE = "/release/action-approval-request"
REVIEWERS = "/release/sys-reviewers"
KEYS = "/registry/credentials/generate-write-access-credentials"


def get(services: RunningServices, user: str, path: str, **params: Any) -> httpx.Response:
    return services.registry(user, "GET", path, params=params)


def change_lock(services: RunningServices, user: str, action: str, handle: str) -> httpx.Response:
    body = {"id": handle, "reason": ""}
    return services.registry(user, "PUT", f"{DATASET}/locks/{action}", json=body)


def test_fetching(services: RunningServices) -> None:
    handle, fetch = services.mint(), f"{DATASET}/fetch"
    found = get(services, "alice", fetch, id=handle).json()
    assert found["item"]["id"] == handle
    assert (found["locked"], found["item_is_seed"]) == (False, False)
    for other in ("10378.1/9", "", services.organisation()):
        answer = get(services, "alice", fetch, id=other)
        assert answer.status_code == 200
        assert answer.json()["status"]["success"] is False
        nulls = {name: value for name, value in answer.json().items() if name != "status"}
        assert nulls == dict.fromkeys(("item", "roles", "locked", "item_is_seed"))
    services.grant(handle, [], {})
    assert get(services, "bob", fetch, id=handle).status_code == 401
    assert get(services, "dave", fetch, id=handle).headers["www-authenticate"] == "Bearer"
    with closing(Store(services.database)) as store:
        item = store.item(handle)
        assert item is not None
        store.put_item({**item, "record_type": "SEED_ITEM"})
        assert get(services, "alice", fetch, id=handle).json()["item"] is None
        seed = get(services, "alice", fetch, id=handle, seed_allowed="yes").json()
        assert seed["item_is_seed"] is True
        assert "collection_format" not in seed["item"]
        person = "/registry/agent/person/fetch"
        foreign = get(services, "alice", person, id=handle, seed_allowed=True)
        assert foreign.status_code == 400
        body = {"filter_by": {"record_type": "SEED_ONLY"}}
        seeds = services.registry("alice", "POST", f"{DATASET}/list", json=body).json()
        assert [item["id"] for item in seeds["seed_items"]] == [handle]
        store.put_item(item)


def test_locks(services: RunningServices) -> None:
    handle = services.mint()
    assert change_lock(services, "bob", "lock", handle).headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in change_lock(services, "carol", "lock", handle).headers
    for action, again in (
        ("lock", "Resource is already locked."),
        ("unlock", "Cannot unlock already unlocked resource."),
    ):
        assert change_lock(services, "alice", action, handle).json()["status"]["success"]
        locked = get(services, "bob", f"{DATASET}/locks/locked", id=handle).json()
        assert locked == {"locked": action == "lock"}
        assert services.fetch(handle)["locked"] is (action == "lock")
        refused = change_lock(services, "alice", action, handle)
        assert (refused.status_code, refused.json()) == (400, {"detail": again})
    history = get(services, "bob", f"{DATASET}/locks/history", id=handle).json()["history"]
    assert [event["action_type"] for event in history] == ["LOCK", "UNLOCK"]
    assert set(history[0]) == {"action_type", "username", "email", "reason", "timestamp"}
    assert change_lock(services, "alice", "lock", "10378.1/9").status_code == 400
    assert change_lock(services, "admin", "lock", services.organisation()).status_code == 400
    services.grant(handle, ["dataset-data-read"], {})
    assert get(services, "bob", f"{DATASET}/locks/locked", id=handle).status_code == 401


def test_access_settings(services: RunningServices) -> None:
    handle, path = services.mint(), f"{DATASET}/auth/configuration"
    updated = services.fetch(handle)["item"]["updated_timestamp"]
    settings = get(services, "alice", path, id=handle).json()
    assert settings == {
        "owner": "alice",
        "general": ["metadata-read", "dataset-data-read"],
        "groups": {},
    }
    assert get(services, "bob", path, id=handle).status_code == 401
    change_lock(services, "alice", "lock", handle)
    services.grant(handle, [], {"field-team": ["metadata-read"], "unknown": ["admin", "admin"]})
    evaluate = f"{DATASET}/auth/evaluate"
    assert get(services, "bob", evaluate, id=handle).json() == {"roles": ["metadata-read"]}
    services.grant(handle, [], {})
    assert get(services, "bob", evaluate, id=handle).json() == {"roles": []}
    assert len(get(services, "admin", evaluate, id=handle).json()["roles"]) == 5
    assert get(services, "bob", evaluate, id="10378.1/9").status_code == 400
    assert get(services, "bob", evaluate, id="").status_code == 500
    for changes, status in (
        ({"owner": "bob"}, 400),
        ({"general": ["everything"]}, 400),
        ({"groups": None}, 422),
    ):
        body = {**settings, **changes}
        answer = services.registry("alice", "PUT", path, params={"id": handle}, json=body)
        assert answer.status_code == status
    assert services.fetch(handle)["item"]["updated_timestamp"] == updated
    roles = get(services, "bob", f"{DATASET}/auth/roles").json()["roles"]
    assert [role["role_name"] for role in roles] == [
        "metadata-read",
        "metadata-write",
        "admin",
        "dataset-data-read",
        "dataset-data-write",
    ]


def test_deleting(services: RunningServices) -> None:
    handle, path = services.mint(), f"{DATASET}/delete"

    def delete(user: str, handle: str) -> httpx.Response:
        return services.registry(user, "DELETE", path, params={"id": handle})

    assert delete("alice", handle).status_code == 401
    change_lock(services, "alice", "lock", handle)
    assert delete("admin", handle).status_code == 401
    change_lock(services, "alice", "unlock", handle)
    assert delete("admin", handle).json()["status"]["success"]
    assert delete("admin", handle).status_code == 400
    assert delete("admin", "").status_code == 500
    fetch = "/registry/items/fetch-dataset"
    gone = services.datastore("alice", "GET", fetch, params={"handle_id": handle})
    assert gone.status_code == 400


def test_items_of_every_kind(services: RunningServices) -> None:
    handle = services.mint()
    stored = get(services, "bob", f"{GENERAL}/fetch", id=handle).json()["item"]
    assert stored["universal_partition_key"] == "OK"
    assert "release_approver" not in stored
    assert "purpose" not in stored["collection_format"]["dataset_info"]
    unknown = get(services, "bob", f"{GENERAL}/fetch", id="10378.1/9").json()
    assert (unknown["status"]["success"], unknown["item"]) == (False, None)
    assert get(services, "bob", f"{GENERAL}/fetch", id="").text == "Internal Server Error"

    def listed(**body: Any) -> httpx.Response:
        return services.registry("admin", "POST", f"{GENERAL}/list", json=body)

    page = listed(page_size=3).json()
    assert page["total_item_count"] == 3
    assert "universal_partition_key" not in page["items"][0]
    assert page["pagination_key"]["universal_partition_key"] == "OK"
    following = listed(page_size=3, pagination_key=page["pagination_key"]).json()["items"]
    ids = {item["id"] for item in (*page["items"], *following)}
    assert len(ids) == 6
    people = listed(filter_by={"item_subtype": "PERSON"}).json()["items"]
    assert {item["item_subtype"] for item in people} == {"PERSON"}
    uri = {"sort_type": "ACCESS_INFO_URI_BEGINS_WITH", "begins_with": "urn:"}
    assert listed(sort_by=uri).status_code == 400
    both = {"item_subtype": "DATASET", "release_status": "PENDING"}
    assert listed(filter_by=both).status_code == 422
    version = get(services, "bob", f"{GENERAL}/about/version").json()
    assert set(version) == {"commit_id", "commit_url", "tag_name", "release_title", "release_url"}


def test_organisations_and_people(services: RunningServices) -> None:
    organisation = {"display_name": "O", "name": "O", "ror": "https://ror.org/1"}
    path = "/registry/agent/organisation"
    created = services.registry("alice", "POST", f"{path}/create", json=organisation).json()
    assert created["register_create_activity_session_id"] is None
    assert created["created_item"]["workflow_links"] is None
    assert created["created_item"]["versioning_info"] is None
    handle = created["created_item"]["id"]
    assert created["created_item"]["history"][0]["item"]["name"] == "O"
    assert get(services, "bob", f"{path}/fetch", id=handle).json()["item"]["ror"]
    assert services.registry("bob", "POST", f"{path}/create", json=organisation).status_code == 401
    person = {
        "display_name": "P",
        "email": "p@example.org",
        "first_name": "P",
        "last_name": "Q",
    }
    path = "/registry/agent/person/create"
    refused = services.registry("alice", "POST", path, json=person)
    assert (refused.status_code, refused.json()["status"]["success"]) == (200, False)
    assert refused.json()["created_item"] is None
    person["ethics_approved"] = "yes"
    assert services.registry("alice", "POST", path, json=person).json()["status"]["success"]


def test_validating_the_content_of_a_dataset(services: RunningServices) -> None:
    item = services.fetch(services.mint())["item"]
    domain = item["history"][0]["item"]

    def validate(changes: dict[str, Any]) -> httpx.Response:
        path = f"{DATASET}/validate"
        return services.registry("bob", "POST", path, json={**domain, **changes})

    assert validate({}).json()["status"]["success"] is True
    collection = services.collection()
    collection["associations"]["organisation_id"] = "10378.1/9"
    assert validate({"collection_format": collection}).json()["status"]["success"] is False
    assert validate({"release_timestamp": 5}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{DATASET}/auth/evaluate"),
        ("GET", f"{DATASET}/auth/configuration"),
        ("GET", f"{DATASET}/locks/locked"),
        ("GET", f"{DATASET}/locks/history"),
        ("DELETE", f"{DATASET}/delete"),
        ("DELETE", f"{GENERAL}/delete"),
    ],
)
def test_empty_ids(services: RunningServices, method: str, path: str) -> None:
    answer = services.registry("admin", method, path, params={"id": ""})
    assert answer.status_code == 500
    assert "empty" in answer.json()["detail"]


def test_an_empty_id_of_any_kind_crashes_the_fetch(services: RunningServices) -> None:
    answer = services.registry("admin", "GET", f"{GENERAL}/fetch", params={"id": ""})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{DATASET}/proxy/fetch"),
        ("POST", f"{DATASET}/proxy/seed"),
        ("POST", f"{DATASET}/proxy/create"),
        ("PUT", f"{DATASET}/proxy/update"),
        ("PUT", f"{DATASET}/proxy/revert"),
        ("POST", f"{DATASET}/proxy/version"),
        ("GET", f"{GENERAL}/proxy/fetch"),
    ],
)
def test_proxy_routes_are_for_services(services: RunningServices, method: str, path: str) -> None:
    without = services.registry("bob", method, path)
    assert (without.status_code, "X-User-Context" in without.json()["detail"]) == (400, True)
    forged = services.registry("admin", method, path, headers={"X-User-Context": "alice"})
    assert (forged.status_code, forged.text) == (500, "Internal Server Error")
    assert services.client.request(method, services.urls.registry + path).status_code == 401


@pytest.mark.parametrize("action", ["update", "revert", "version", "seed", "create"])
def test_datasets_change_only_through_the_data_store(
    services: RunningServices, action: str
) -> None:
    assert services.registry("admin", "PUT", f"{DATASET}/{action}", json={}).status_code == 404


@pytest.fixture
def reviewer(services: RunningServices) -> Iterator[str]:
    """carol's Person, in the list of reviewers."""
    yield services.person("carol")


def request_release(
    services: RunningServices, handle: str, approver: str, user: str = "alice"
) -> httpx.Response:
    body = {"dataset_id": handle, "approver_id": approver, "notes": ""}
    return services.datastore(user, "POST", REQUEST, json=body)


def decide(
    services: RunningServices, handle: str, approve: bool, user: str = "carol"
) -> httpx.Response:
    body = {"dataset_id": handle, "approve": approve, "notes": "n"}
    return services.datastore(user, "PUT", DECIDE, json=body)


def write_keys(services: RunningServices, handle: str, user: str = "alice") -> int:
    body = {"dataset_id": handle, "console_session_required": False}
    return services.datastore(user, "POST", KEYS, json=body).status_code


def test_a_release(services: RunningServices, reviewer: str) -> None:
    handle = services.mint()
    assert decide(services, handle, True).status_code == 400
    answer = request_release(services, handle, reviewer).json()
    assert (answer["dataset_id"], answer["approver_id"]) == (handle, reviewer)
    item = services.fetch(handle)["item"]
    assert (item["release_status"], item["release_approver"]) == ("PENDING", reviewer)
    assert item["release_history"][-1]["action"] == "REQUEST"
    assert item["release_history"][-1]["requester"] == services.person("alice")
    assert len(item["history"]) == 1
    assert write_keys(services, handle) == write_keys(services, handle, "admin") == 403
    assert request_release(services, handle, reviewer).status_code == 400
    assert decide(services, handle, True, "alice").status_code == 401
    assert decide(services, handle, True, "bob").status_code == 401
    assert decide(services, handle, False).json()["approved"] is False
    item = services.fetch(handle)["item"]
    assert item["release_status"] == "NOT_RELEASED"
    assert item["release_approver"] == reviewer
    assert write_keys(services, handle) == 200
    request_release(services, handle, reviewer)
    assert decide(services, handle, True).json()["approved"] is True
    item = services.fetch(handle)["item"]
    assert item["release_status"] == "RELEASED"
    actions = [entry["action"] for entry in item["release_history"]]
    assert actions == ["REQUEST", "REJECT", "REQUEST", "APPROVE"]
    assert item["release_history"][-1]["requester"] is None
    assert write_keys(services, handle) == 403
    params = {"handle_id": handle, "reason": "r"}
    updated = services.datastore(
        "alice",
        "POST",
        "/register/update-metadata",
        params=params,
        json=services.collection("later"),
    )
    assert updated.status_code == 200
    body = {"id": handle, "reason": "next"}
    new = services.datastore("alice", "POST", "/register/version", json=body).json()
    fresh = services.fetch(new["new_version_id"])["item"]
    assert (fresh["release_status"], fresh["release_history"]) == ("NOT_RELEASED", [])
    assert fresh["history"][1]["item"]["release_status"] == "RELEASED"


def test_what_refuses_a_release(services: RunningServices, reviewer: str) -> None:
    handle = services.mint()
    assert request_release(services, handle, reviewer, "carol").status_code == 401
    assert request_release(services, handle, services.person("alice")).status_code == 400
    assert request_release(services, "10378.1/9", reviewer).status_code == 400
    change_lock(services, "alice", "lock", handle)
    assert request_release(services, handle, reviewer).status_code == 401
    change_lock(services, "alice", "unlock", handle)
    request_release(services, handle, reviewer)
    change_lock(services, "alice", "lock", handle)
    assert decide(services, handle, True).status_code == 500
    assert services.fetch(handle)["item"]["release_status"] == "PENDING"


def test_reviewers(services: RunningServices, reviewer: str) -> None:
    assert services.datastore("alice", "GET", f"{REVIEWERS}/list").json() == [reviewer]
    in_body = services.datastore("admin", "POST", f"{REVIEWERS}/add", json={"reviewer_id": "x"})
    assert in_body.status_code == 422
    assert in_body.json()["detail"][0]["loc"] == ["query", "reviewer_id"]
    params = {"reviewer_id": "nobody"}
    assert services.datastore("alice", "POST", f"{REVIEWERS}/add", params=params).is_error
    added = services.datastore("admin", "POST", f"{REVIEWERS}/add", params=params)
    assert (added.status_code, added.json()) == (200, None)
    handle = services.mint()
    assert request_release(services, handle, "nobody").status_code == 500
    assert services.fetch(handle)["item"]["release_status"] == "PENDING"
    for _ in range(2):
        gone = services.datastore("admin", "DELETE", f"{REVIEWERS}/delete", params=params)
        assert (gone.status_code, gone.json()) == (200, None)
    assert services.datastore("bob", "GET", f"{REVIEWERS}/list").status_code == 401


def test_the_reviewers_inbox(services: RunningServices, reviewer: str) -> None:
    handle = services.mint()
    request_release(services, handle, reviewer)
    path = f"{DATASET}/user/releases"

    def inbox(user: str, body: dict[str, Any]) -> httpx.Response:
        return services.registry(user, "POST", path, json=body)

    newest = {"sort_type": "RELEASE_TIMESTAMP"}
    mine = {"release_reviewer": reviewer, "release_status": "PENDING"}
    found = inbox("carol", {"filter_by": mine, "sort_by": newest}).json()
    assert handle in [item["id"] for item in found["dataset_items"]]
    assert found["total_dataset_count"] == len(found["dataset_items"])
    assert {item["release_status"] for item in found["dataset_items"]} == {"PENDING"}
    for user, body, status in (
        ("carol", {}, 422),
        ("carol", {"filter_by": {}}, 400),
        ("alice", {"filter_by": mine, "sort_by": newest}, 403),
        ("bob", {"filter_by": mine, "sort_by": newest}, 400),
        ("carol", {"filter_by": mine}, 500),
        ("carol", {"filter_by": mine, "sort_by": {"sort_type": "DISPLAY_NAME"}}, 400),
    ):
        assert inbox(user, body).status_code == status, (user, body)
