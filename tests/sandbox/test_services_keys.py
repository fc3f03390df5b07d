"""The data store API's keys and links, the jobs and the search."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.support.running_services import RunningServices

MINT = "/register/mint-dataset"


@pytest.mark.parametrize(
    ("granted", "read", "write"),
    [
        ([], 401, 401),
        (["metadata-read"], 401, 401),
        (["metadata-read", "dataset-data-read"], 200, 401),
        (["metadata-read", "dataset-data-write"], 200, 200),
        (["admin"], 200, 200),
        (["dataset-data-write"], 401, 401),
    ],
)
def test_who_gets_keys(
    services: RunningServices, granted: list[str], read: int, write: int
) -> None:
    handle = services.mint()
    services.grant(handle, [], {"field-team": granted})
    for access, status in (("read", read), ("write", write)):
        answer = services.keys(handle, access, "carol")
        assert answer.status_code == status
        assert "www-authenticate" not in answer.headers
    assert services.keys(handle, "write", "bob").headers["www-authenticate"] == "Bearer"
    assert services.keys(handle, "write", "admin").status_code == 200
    path = "/registry/items/generate-presigned-url"
    body = {"dataset_id": handle, "file_path": "metadata.json"}
    link = services.datastore("carol", "POST", path, json=body)
    assert link.status_code == (200 if "dataset-data-read" in granted else 401)


def test_keys_are_good_for_one_folder(services: RunningServices) -> None:
    one, other = services.mint(), services.mint()
    mine, theirs = (services.fetch(handle)["item"]["s3"] for handle in (one, other))
    bucket, answer = mine["bucket_name"], services.keys(one, "write")
    expiry = datetime.fromisoformat(answer.json()["credentials"]["expiry"])
    assert timedelta(hours=7) < expiry - datetime.now(UTC) <= timedelta(hours=8)
    assert answer.json()["console_session_url"] is None
    writer, reader = services.s3(answer), services.s3(services.keys(one, "read"))
    writer.put_object(Bucket=bucket, Key=mine["path"] + "a", Body=b"a")
    assert reader.get_object(Bucket=bucket, Key=mine["path"] + "a")["Body"].read() == b"a"
    assert reader.list_objects_v2(Bucket=bucket, Prefix=theirs["path"])["KeyCount"] == 1
    for forbidden in (
        lambda: reader.get_object(Bucket=bucket, Key=theirs["path"] + "metadata.json"),
        lambda: reader.put_object(Bucket=bucket, Key=mine["path"] + "a", Body=b"b"),
        lambda: writer.put_object(Bucket=bucket, Key=theirs["path"] + "a", Body=b"b"),
        lambda: reader.delete_object(Bucket=bucket, Key=mine["path"] + "a"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            forbidden()
    services.lock(one)
    assert services.keys(one, "write").status_code == 401
    assert services.keys(one, "write", "admin").status_code == 401
    assert services.keys(one, "read").status_code == 200


def test_links_to_files(services: RunningServices) -> None:
    handle = services.mint()
    path = "/registry/items/generate-presigned-url"

    def ask(file_path: str, **more: Any) -> httpx.Response:
        body = {"dataset_id": handle, "file_path": file_path, **more}
        return services.datastore("bob", "POST", path, json=body)

    url = ask("metadata.json").json()["presigned_url"]
    downloaded = services.client.get(url)
    assert downloaded.content == services.stored_metadata(handle)
    assert downloaded.headers["content-disposition"].startswith("attachment; filename=datasets/")
    for refused in ("a..b", "../x", "a//b", "a\\b"):
        assert "which is not allowed" in ask(refused).json()["detail"]
        assert ask(refused).status_code == 400
    for missing in ("nope", "", "/metadata.json", "./metadata.json"):
        assert ask(missing).status_code == 400
    for expires_in in (0, 86401):
        assert ask("metadata.json", expires_in=expires_in).status_code == 422
    body = {"dataset_id": "10378.1/9", "file_path": "x"}
    unknown = services.datastore("bob", "POST", path, json=body)
    assert unknown.status_code == 400
    assert unknown.json()["detail"].startswith("Failed to generate presigned url. Error: ")


def test_jobs_follow_minting(services: RunningServices) -> None:
    answer = services.datastore("alice", "POST", MINT, json=services.collection()).json()
    url = f"{services.urls.job_api}/jobs/user"
    session = answer["register_create_activity_session_id"]

    def fetch(session_id: str, user: str = "alice") -> httpx.Response:
        params = {"session_id": session_id}
        return services.call(user, "GET", f"{url}/fetch", params=params)

    job = fetch(session).json()["job"]
    assert (job["job_type"], job["job_sub_type"]) == ("REGISTRY", "REGISTER_CREATE_ACTIVITY")
    assert job["status"] == "SUCCEEDED"
    lodged = fetch(job["result"]["lodge_session_id"]).json()["job"]
    assert (lodged["job_sub_type"], lodged["result"]) == ("LODGE_CREATE_ACTIVITY", {})
    activity = services.registry(
        "alice",
        "GET",
        "/registry/activity/create/fetch",
        params={"id": job["result"]["creation_activity_id"]},
    ).json()["item"]
    assert activity["created_item_id"] == answer["handle"]
    assert fetch("none").json() == {"detail": "Item was not found."}
    assert fetch(session, "admin").status_code == 401
    page = services.call("alice", "POST", f"{url}/list", json={"limit": 1}).json()
    assert len(page["jobs"]) == 1
    assert page["pagination_key"] is not None


def test_search(services: RunningServices) -> None:
    handle = services.mint(name="Quokka census", keywords=["rottnest"])
    services.grant(handle, [], {})
    url = f"{services.urls.search}/search/entity-registry"

    def search(query: str, **more: Any) -> list[dict[str, Any]]:
        params = {"query": query, "subtype_filter": "DATASET", **more}
        found: list[dict[str, Any]] = services.call("bob", "GET", url, params=params).json()[
            "results"
        ]
        return found

    for query in ("quokka", "Quok", "rott", f"{handle}"):
        assert search(query)[0]["id"] == handle
    assert search("nothingofthekind") == []
    scores = [result["score"] for result in search("dataset d n", record_limit=100)]
    assert scores == sorted(scores, reverse=True)
    assert services.call("bob", "GET", url, params={"query": "x", "record_limit": -1}).is_error
    assert services.call("bob", "GET", url).status_code == 422
    assert services.call("dave", "GET", url, params={"query": "x"}).status_code == 401
