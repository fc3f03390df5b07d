"""The data store API: minting, metadata, versions and lists."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import httpx
import pytest

from provenafs.sandbox.kinds import DATASET_ROLES
from provenafs.sandbox.store import Kind, Store
from tests.support.running_services import RunningServices

LIST = "/registry/items/list"
FETCH = "/registry/items/fetch-dataset"
MINT = "/register/mint-dataset"


def mint(services: RunningServices, body: dict[str, Any], user: str = "alice") -> httpx.Response:
    return services.datastore(user, "POST", MINT, json=body)


def update(
    services: RunningServices, handle: str, body: Any, reason: str = "r", user: str = "alice"
) -> httpx.Response:
    params = {"handle_id": handle, "reason": reason}
    return services.datastore(user, "POST", "/register/update-metadata", params=params, json=body)


def revert(services: RunningServices, handle: str, history_id: int, user: str = "alice") -> Any:
    body = {"id": handle, "history_id": history_id, "reason": "because"}
    return services.datastore(user, "PUT", "/register/revert-metadata", json=body)


def version(services: RunningServices, handle: str, user: str = "alice") -> httpx.Response:
    body = {"id": handle, "reason": "newer"}
    return services.datastore(user, "POST", "/register/version", json=body)


def test_minting(services: RunningServices) -> None:
    body = services.collection("Reef", user_metadata={"depth": 3}, keywords=["coral", "é"])
    answer = mint(services, body).json()
    handle, path = answer["handle"], answer["s3_location"]["path"]
    assert path == "datasets/" + handle.replace(".", "-").replace("/", "-") + "/"
    fetched = services.fetch(handle)
    item = fetched["item"]
    assert fetched["roles"] == [role.value for role in DATASET_ROLES]
    assert fetched["locked"] is False
    assert item["display_name"] == "Reef"
    assert item["user_metadata"] == {"depth": "3"}
    assert [entry["reason"] for entry in item["history"]] == ["Initial record creation"]
    assert item["versioning_info"] == {
        "previous_version": None,
        "version": 1,
        "reason": None,
        "next_version": None,
    }
    assert item["release_status"] == "NOT_RELEASED"
    session = answer["register_create_activity_session_id"]
    assert item["workflow_links"]["create_activity_workflow_id"] == session
    assert item["collection_format"]["dataset_info"]["purpose"] is None
    text = services.stored_metadata(handle)
    document = json.loads(text)
    assert text.decode() == json.dumps(document, indent=2)
    assert text.isascii()
    assert list(document) == ["associations", "approvals", "dataset_info"]
    assert document["dataset_info"]["access_info"] == {"reposited": True}
    assert "purpose" not in document["dataset_info"]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("associations", "organisation_id"), "10378.1/9", "Validation Error"),
        (("associations", "data_custodian_id"), "10378.1/9", "Validation Error"),
        (("approvals", "export_controls"), {"relevant": True}, "Failed field value validation"),
        (("approvals", "ethics_access"), {"obtained": True}, "Failed field value validation"),
        (("dataset_info", "version"), "1", "json schema"),
        (
            ("dataset_info", "published_date"),
            {"relevant": True, "value": "1999-01-01"},
            "Failed field value validation",
        ),
        (("dataset_info", "spatial_info"), {"extent": "POINT (1 2)"}, "EWKT"),
        (("dataset_info", "spatial_info"), {"extent": "SRID=1;POINT (1 2)"}, "EPSG"),
        (("dataset_info", "spatial_info"), {"coverage": "SRID=4326;POLYGON ((1 2)"}, "EWKT"),
    ],
)
def test_metadata_that_does_not_hold(
    services: RunningServices, place: tuple[str, str], value: Any, words: str
) -> None:
    created = {"relevant": True, "value": "2000-01-01"}
    handle = services.mint(created_date=created)
    body = services.collection(created_date=created)
    body[place[0]][place[1]] = value
    answer = mint(services, body)
    assert answer.status_code == 200
    assert answer.json()["status"]["success"] is False
    assert words in answer.json()["status"]["details"]
    assert answer.json()["handle"] is None
    validated = services.datastore("bob", "POST", "/metadata/validate-metadata", json=body)
    assert set(validated.json()) == {"success", "details"}
    assert validated.json()["success"] is False
    refused = update(services, handle, body)
    assert refused.status_code == 400
    assert words in refused.json()["detail"]


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ("POLYGON ((0 0, 1 0, 1 1, 0 0), (0 0, 2 0, 2 2, 0.0 0e1))", None),
        ("POLYGON Z ((0 0 1, 1 0 1, 1 1 1, 0 0 2))", None),
        ("MULTIPOINT (1 2, (3 4))", None),
        ("GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (1 2, 3 4))", None),
        ("POLYGON ((0 0, 1 0, 1 1, 0 1))", "not closed"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0), (0 0, 1 0, 1 1))", "not closed"),
        ("MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((0 0, 1 0, 1 1)))", "not closed"),
        ("GEOMETRYCOLLECTION (POLYGON ((0 0, 1 0, 1 1)))", "not closed"),
        ("LINESTRING (1 2)", "one position"),
        ("POLYGON (0 0, 1 1, 0 0)", "expected"),
    ],
)
def test_geometries(services: RunningServices, geometry: str, words: str | None) -> None:
    body = services.collection(spatial_info={"coverage": f"SRID=4326;{geometry}"})
    answer = services.datastore("bob", "POST", "/metadata/validate-metadata", json=body).json()
    assert answer["success"] is (words is None)
    assert words is None or words in answer["details"]


@pytest.mark.parametrize(
    "resolution", ["PT", "P1DT", "P1D", "P1Y2M10DT2H30M", "P0001-02-03T04:05:06"]
)
def test_durations(services: RunningServices, resolution: str) -> None:
    body = services.collection(temporal_info={"resolution": resolution})
    answer = services.datastore("bob", "POST", "/metadata/validate-metadata", json=body)
    assert answer.json()["success"] is True
    body["dataset_info"]["temporal_info"]["resolution"] = f"{resolution}x"
    assert mint(services, body).status_code == 422


@pytest.mark.parametrize(
    ("place", "value", "loc", "kind"),
    [
        (("dataset_info", "colour"), "red", ["dataset_info", "colour"], "value_error.extra"),
        (("dataset_info", "license"), "ftp://x.org", ["dataset_info", "license"], "value_error."),
        (("dataset_info", "name"), "", ["dataset_info", "name"], "value_error.any_str.min_length"),
        (("dataset_info", "keywords"), [""], ["dataset_info", "keywords", 0], "value_error.any"),
        (
            ("dataset_info", "created_date"),
            {"relevant": True},
            ["dataset_info", "created_date", "__root__"],
            "value_error",
        ),
        (
            ("dataset_info", "created_date"),
            {"relevant": True, "value": "yesterday"},
            ["dataset_info", "created_date", "value"],
            "value_error.date",
        ),
        (
            ("dataset_info", "access_info"),
            {"reposited": False, "description": "d"},
            ["dataset_info", "access_info", "__root__"],
            "value_error",
        ),
        (
            ("dataset_info", "temporal_info"),
            {"resolution": "1h"},
            ["dataset_info", "temporal_info", "resolution"],
            "value_error",
        ),
        (("approvals", "ethics_access"), None, ["approvals", "ethics_access"], "type_error.none"),
    ],
)
def test_bodies_that_are_no_collection_format(
    services: RunningServices, place: tuple[str, str], value: Any, loc: list[Any], kind: str
) -> None:
    body = services.collection()
    body[place[0]][place[1]] = value
    answer = mint(services, body)
    assert answer.status_code == 422
    (entry,) = answer.json()["detail"]
    assert entry["loc"] == ["body", *loc]
    assert entry["type"].startswith(kind)


def test_validation_answers_of_the_first_generation(services: RunningServices) -> None:
    body = services.collection()
    del body["dataset_info"]["license"]
    path = "/register/update-metadata"
    answer = services.datastore("alice", "POST", path, json=body)
    missing = {"msg": "field required", "type": "value_error.missing"}
    assert answer.json() == {
        "detail": [
            {"loc": ["query", "handle_id"], **missing},
            {"loc": ["query", "reason"], **missing},
            {"loc": ["body", "dataset_info", "license"], **missing},
        ]
    }
    assert services.datastore("alice", "POST", LIST).json()["detail"][0] == {
        "loc": ["body"],
        **missing,
    }
    text = services.datastore(
        "alice", "POST", LIST, content=b"{}", headers={"content-type": "text/plain"}
    )
    assert text.json() == {
        "detail": [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}]
    }
    for page_size in ("3", 1.5, True):
        assert services.datastore("bob", "POST", LIST, json={"page_size": page_size}).is_success
    both = {"sort_by": {"sort_type": "DISPLAY_NAME", "begins_with": "x"}}
    assert services.datastore("bob", "POST", LIST, json=both).status_code == 422


def test_updates_and_reverts(services: RunningServices) -> None:
    handle = services.mint(name="first")
    before = services.fetch(handle)["item"]
    answer = update(services, handle, services.collection("second", purpose="p"), "why")
    assert answer.json()["handle"] == handle
    item = services.fetch(handle)["item"]
    assert item["display_name"] == "second"
    assert item["created_timestamp"] == before["created_timestamp"]
    assert [(entry["id"], entry["reason"]) for entry in item["history"]] == [
        (1, "why"),
        (0, "Initial record creation"),
    ]
    assert json.loads(services.stored_metadata(handle))["dataset_info"]["purpose"] == "p"
    assert revert(services, handle, 99).status_code == 400
    assert revert(services, handle, 0).json()["status"]["success"]
    item = services.fetch(handle)["item"]
    assert item["collection_format"] == before["collection_format"]
    assert item["history"][0]["id"] == 2
    reason = "Reverting dataset to history id 0. Reason: because."
    assert item["history"][0]["reason"] == reason
    assert b"purpose" not in services.stored_metadata(handle)


def test_what_refuses_an_update(services: RunningServices) -> None:
    handle, body = services.mint(), services.collection("changed")
    assert update(services, handle, body, user="bob").status_code == 401
    refused = update(services, handle, body, user="carol")
    assert refused.status_code == 401
    assert "www-authenticate" not in refused.headers
    empty = update(services, handle, body, reason="")
    assert (empty.status_code, empty.text) == (500, "Internal Server Error")
    assert update(services, "10378.1/9", body).status_code == 400
    huge = services.collection(description="x" * 500_000)
    assert update(services, handle, huge).status_code == 500
    services.grant(handle, ["metadata-read", "dataset-data-write"], {})
    assert update(services, handle, body, user="carol").status_code == 401
    services.grant(handle, ["metadata-write"], {})
    assert update(services, handle, body, user="carol").status_code == 200
    services.lock(handle)
    assert update(services, handle, body).status_code == 401
    assert revert(services, handle, 0).status_code == 401
    assert len(services.fetch(handle)["item"]["history"]) == 2


def test_an_unlinked_user_cannot_write(services: RunningServices) -> None:
    handle, admin_url = services.mint(), f"{services.urls.auth_api}/link/admin"
    person = services.person("admin")
    cleared = services.call("admin", "DELETE", f"{admin_url}/clear", params={"username": "admin"})
    assert cleared.json() == {}
    try:
        answer = mint(services, services.collection(), "admin")
        assert answer.status_code == 500
        assert "you must link" in answer.json()["detail"]
        assert update(services, handle, services.collection(), user="admin").status_code == 500
        assert version(services, handle, "admin").status_code == 400
    finally:
        body = {"username": "admin", "person_id": person}
        answer = services.call("admin", "POST", f"{admin_url}/assign", json=body)
        assert answer.json() == {}


def test_versions(services: RunningServices) -> None:
    old = services.mint(name="v", user_metadata={"a": "b"})
    services.lock(old)
    answer = version(services, old).json()
    new = answer["new_version_id"]
    fetched = services.fetch(new)
    item = fetched["item"]
    assert item["versioning_info"] == {
        "previous_version": old,
        "version": 2,
        "reason": "newer",
        "next_version": None,
    }
    assert item["workflow_links"] == {
        "create_activity_workflow_id": None,
        "version_activity_workflow_id": answer["version_job_session_id"],
    }
    assert [(entry["id"], entry["reason"]) for entry in item["history"]] == [
        (1, "(System) Dataset S3 path updated to new version's storage location"),
        (0, f"New version of existing item (id={old})."),
    ]
    assert item["s3"]["path"] == "datasets/" + new.replace(".", "-").replace("/", "-") + "/"
    assert item["history"][1]["item"]["s3"] == services.fetch(old)["item"]["s3"]
    assert item["user_metadata"] is None
    assert item["collection_format"]["dataset_info"]["user_metadata"] == {"a": "b"}
    assert fetched["locked"] is False
    assert services.fetch(old)["item"]["versioning_info"]["next_version"] == new
    assert version(services, old).status_code == 400
    assert version(services, "10378.1/9").status_code == 400
    assert version(services, "").status_code == 500
    assert version(services, new, "carol").status_code == 401
    assert revert(services, new, 0).json()["status"]["success"]
    assert services.fetch(new)["item"]["user_metadata"] == {"a": "b"}


def test_a_version_that_fails_half_way_keeps_its_predecessors_folder(
    services: RunningServices,
) -> None:
    old = services.mint()
    with closing(Store(services.database)) as store:
        item = store.item(old)
        assert item is not None
        item["collection_format"]["dataset_info"]["version"] = "1"
        store.put_item(item)
    answer = version(services, old)
    assert answer.status_code == 500
    new = services.fetch(old)["item"]["versioning_info"]["next_version"]
    assert answer.json()["detail"].startswith(new)
    assert services.fetch(new)["item"]["s3"] == services.fetch(old)["item"]["s3"]
    assert version(services, old).status_code == 400


def test_fetching(services: RunningServices) -> None:
    handle = services.mint()
    cases = {handle: 200, "": 400, "10378.1/9": 400, services.organisation(): 400}
    for asked, status in cases.items():
        answer = services.datastore("bob", "GET", FETCH, params={"handle_id": asked})
        assert answer.status_code == status
    assert services.datastore("bob", "GET", FETCH).status_code == 422
    assert sorted(services.fetch(handle, "bob")["roles"]) == ["dataset-data-read", "metadata-read"]
    services.grant(handle, [], {})
    answer = services.datastore("bob", "GET", FETCH, params={"handle_id": handle})
    assert answer.status_code == 401
    assert "www-authenticate" not in answer.headers


def pages(services: RunningServices, user: str, **request: Any) -> list[dict[str, Any]]:
    found, key = [], None
    while True:
        body = {**request, "pagination_key": key}
        answer = services.datastore(user, "POST", LIST, json=body)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        key = found[-1]["pagination_key"]
        if key is None:
            return found


def test_pages(services: RunningServices) -> None:
    hidden, shown = services.mint(name="Zebra"), services.mint(name="aardvark")
    services.mint(name="Äpfel")
    services.grant(hidden, [], {})
    everything = pages(services, "alice", page_size=1000)[0]["items"]
    for size in (1, 2, 3):
        found = pages(services, "alice", page_size=size)
        ids = [item["id"] for page in found for item in page["items"]]
        assert sorted(ids) == sorted(item["id"] for item in everything)
        assert all(page["total_item_count"] == len(page["items"]) for page in found)
    exact = pages(services, "alice", page_size=len(everything))
    assert [len(page["items"]) for page in exact] == [len(everything), 0]
    assert set(exact[0]["pagination_key"]) == {"id", "item_subtype", "updated_timestamp"}
    bobs = pages(services, "bob", page_size=1)
    assert any(not page["items"] and page["pagination_key"] for page in bobs)
    assert sum(page["not_authorised_count"] for page in bobs) > 0
    assert hidden not in [item["id"] for page in bobs for item in page["items"]]
    assert shown in [item["id"] for page in bobs for item in page["items"]]
    times = [item["updated_timestamp"] for item in everything]
    assert times == sorted(times, reverse=True)


def test_sorts(services: RunningServices) -> None:
    for name in ("Zebra", "aardvark", "Äpfel"):
        services.mint(name=name)
    outside = {"reposited": False, "uri": "urn:x:y", "description": "there"}
    services.mint(access_info=outside)
    by_name = {"sort_by": {"sort_type": "DISPLAY_NAME", "ascending": True}}
    names = [
        item["display_name"]
        for page in pages(services, "alice", page_size=2, **by_name)
        for item in page["items"]
    ]
    assert names == sorted(names, key=str.encode)
    by_uri = {"sort_by": {"sort_type": "ACCESS_INFO_URI_BEGINS_WITH", "begins_with": "urn:"}}
    found = pages(services, "alice", **by_uri)[0]["items"]
    assert {item["access_info_uri"] for item in found} == {"urn:x:y"}
    key = services.datastore("alice", "POST", LIST, json={"page_size": 1}).json()["pagination_key"]
    bad: list[tuple[dict[str, Any], int]] = [
        ({"sort_by": {"sort_type": "RELEASE_TIMESTAMP"}}, 500),
        ({"page_size": 0}, 500),
        ({"pagination_key": {}}, 500),
        ({"pagination_key": "x"}, 422),
        ({"pagination_key": key, **by_name}, 500),
    ]
    for body, status in bad:
        answer = services.datastore("alice", "POST", LIST, json=body)
        assert answer.status_code == status, body


def test_seeds_and_rows_that_cannot_be_parsed(services: RunningServices) -> None:
    handle = services.mint()
    with closing(Store(services.database)) as store:
        item = store.item(handle)
        assert item is not None
        store.put_item({**item, "record_type": "SEED_ITEM"})
        page = services.datastore("alice", "POST", LIST, json={"page_size": 1}).json()
        assert (page["items"], page["seed_items"]) == ([], [])
        assert page["pagination_key"]["id"] == handle
        answer = services.datastore("alice", "GET", FETCH, params={"handle_id": handle})
        assert answer.status_code == 400
        store.put_item({**item, "release_status": "LOST"})
        refused = services.datastore("alice", "POST", LIST, json={"page_size": 1})
        assert refused.status_code == 400
        direct = services.registry(
            "alice", "POST", "/registry/entity/dataset/list", json={"page_size": 1}
        )
        assert direct.status_code == 200
        assert direct.json()["status"]["success"] is False
        assert direct.json()["unparsable_item_count"] == 1
        store.put_item(item)


def test_routes_that_are_none(services: RunningServices) -> None:
    base = services.urls.datastore
    assert services.client.get(f"{base}/").json() == {"message": "Health check successful."}
    assert services.client.head(f"{base}/").status_code == 405
    unknown = services.client.get(f"{base}/nope")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})
    wrong = services.client.get(f"{base}{LIST}")
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})
    moved = services.client.get(f"{base}{FETCH}/")
    assert moved.status_code == 307
    assert moved.headers["location"].endswith(f"/data-store{FETCH}")


def test_who_may_be_linked_to_a_person(services: RunningServices) -> None:
    url, person = f"{services.urls.auth_api}/link", services.person("alice")

    def validate(user: str, person_id: str = person) -> tuple[int, bool | None]:
        body = {"person_id": person_id}
        answer = services.call(user, "POST", f"{url}/user/validate", json=body)
        return answer.status_code, answer.json().get("status", {}).get("success")

    assert validate("alice") == (200, False)  # she is linked
    assert validate("bob") == (401, None)  # it is another's
    assert validate("bob", "10378.1/9") == (500, None)
    linked = {user: services.person(user) for user in ("alice", "admin")}
    for user in linked:
        services.call("admin", "DELETE", f"{url}/admin/clear", params={"username": user})
    try:
        assert validate("alice") == (200, True)
        assert validate("admin") == (200, False)  # who may see it but does not own it
        body = {"person_id": person}
        assert services.call("admin", "POST", f"{url}/user/assign", json=body).status_code == 401
    finally:
        for user, person_id in linked.items():
            link = {"username": user, "person_id": person_id}
            services.call("admin", "POST", f"{url}/admin/assign", json=link).raise_for_status()


def test_groups(services: RunningServices) -> None:
    url = f"{services.urls.auth_api}/groups/user/list_user_membership"
    assert services.call("alice", "GET", url).json()["groups"] == []
    (group,) = services.call("bob", "GET", url).json()["groups"]
    assert set(group) == {"id", "display_name", "description", "default_data_store_access"}
    with closing(Store(services.database)) as store:
        assert store.get(Kind.GROUP, group["id"]) is not None
    report_url = f"{services.urls.auth_api}/access-control/user/generate-access-report"
    report = services.call("bob", "GET", report_url).json()["report"]
    granted = {
        role["role_name"]: role["access_granted"]
        for component in report["components"]
        for role in component["component_roles"]
    }
    assert granted["entity-registry-read"] is True
    assert granted["entity-registry-write"] is False


def test_groups_that_are_not_there_or_not_ones_own(services: RunningServices) -> None:
    url = f"{services.urls.auth_api}/groups/user"
    (group,) = services.call("bob", "GET", f"{url}/list_groups").json()["groups"]

    def ask(user: str, action: str, **params: str) -> Any:
        return (
            services.call(user, "GET", f"{url}/{action}", params=params).raise_for_status().json()
        )

    for action, answer in (("describe_group", "group"), ("list_members", "group")):
        missing = ask("bob", action, id="nobodys")
        assert (missing["status"]["success"], missing[answer]) == (False, None)
    missing = ask("bob", "check_membership", group_id="nobodys")
    assert (missing["status"]["success"], missing["is_member"]) == (False, None)
    assert ask("alice", "check_membership", group_id=group["id"])["is_member"] is False
    foreign = ask("alice", "list_members", id=group["id"])
    assert (foreign["status"]["success"], foreign["group"]) == (False, None)
    own = ask("bob", "list_members", id=group["id"])["group"]["users"]
    assert [member["username"] for member in own] == ["bob", "carol"]
    assert set(own[0]) == {"username", "email", "first_name", "last_name"}
    empty = services.call("bob", "GET", f"{url}/describe_group", params={"id": ""})
    assert (empty.status_code, "detail" in empty.json()) == (500, True)
