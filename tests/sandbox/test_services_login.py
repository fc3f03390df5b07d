"""The realm: grants, the device page, and what a token must hold."""

from __future__ import annotations

import base64
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from provenafs.sandbox.app import Lifetimes
from provenafs.sandbox.oidc import DEVICE_GRANT
from provenafs.sandbox.store import Store
from provenafs.sandbox.tokens import Tokens
from tests.support.running_services import RunningServices, running_services


def token_request(services: RunningServices, **form: str) -> httpx.Response:
    url = f"{services.urls.realm}/protocol/openid-connect/token"
    return services.client.post(url, data=form)


def start_device(services: RunningServices, client_id: str, scope: str = "") -> dict[str, Any]:
    url = f"{services.urls.realm}/protocol/openid-connect/auth/device"
    answer = services.client.post(url, data={"client_id": client_id, "scope": scope})
    assert answer.status_code == 200
    return dict(answer.json())


def poll(services: RunningServices, device: dict[str, Any], client_id: str) -> httpx.Response:
    return token_request(
        services,
        grant_type=DEVICE_GRANT,
        device_code=device["device_code"],
        client_id=client_id,
        scope="",
    )


def decide(services: RunningServices, device: dict[str, Any], **form: str) -> httpx.Response:
    return services.client.post(
        device["verification_uri"], data={"user_code": device["user_code"], **form}
    )


def test_tokens_verify_with_the_key_the_realm_shows(services: RunningServices) -> None:
    realm = services.client.get(services.urls.realm).json()
    tokens = services.login("alice")
    key = (
        "-----BEGIN PUBLIC KEY-----\n" + realm["public_key"] + "\n-----END PUBLIC KEY-----"
    ).encode()
    claims = jwt.decode(tokens["access_token"], key, algorithms=["RS256"], audience="account")
    assert claims["preferred_username"] == "alice"
    assert claims["iss"] == services.urls.realm
    assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 300
    assert {"email", "given_name", "family_name", "sub", "azp", "scope"} <= set(claims)
    assert base64.b64decode(realm["public_key"])
    configuration = services.client.get(
        f"{services.urls.realm}/.well-known/openid-configuration"
    ).json()
    assert configuration["issuer"] == services.urls.realm
    keys = services.client.get(configuration["jwks_uri"]).json()["keys"]
    signing = jwt.PyJWK(keys[0]).key
    jwt.decode(tokens["access_token"], signing, algorithms=["RS256"], audience="account")


def test_a_device_waits_until_a_person_approves_it(services: RunningServices) -> None:
    device = start_device(services, "client-tools")
    assert poll(services, device, "client-tools").json() == {"error": "authorization_pending"}
    assert poll(services, device, "client-tools").json() == {"error": "slow_down"}
    page = services.client.get(device["verification_uri_complete"])
    assert page.status_code == 200
    assert device["user_code"] in page.text
    wrong = decide(services, device, username="alice", password="wrong", decision="approve")
    assert wrong.status_code == 401
    assert "Wrong user name or password" in wrong.text
    done = decide(services, device, username="alice", password="alice", decision="approve")
    assert done.status_code == 200
    tokens = poll(services, device, "client-tools").json()
    assert tokens["token_type"] == "Bearer"
    again = poll(services, device, "client-tools")
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_person_may_refuse_a_device(services: RunningServices) -> None:
    device = start_device(services, "client-tools")
    decide(services, device, username="bob", password="bob", decision="deny")
    assert poll(services, device, "client-tools").json()["error"] == "access_denied"


def test_the_device_page_shows_what_was_typed_as_text(services: RunningServices) -> None:
    url = f"{services.urls.realm}/device"
    page = services.client.get(url, params={"user_code": '"><script>'}).text
    assert "<script>" not in page
    refused = services.client.post(url, data={"user_code": "NONE", "username": "<b>"})
    assert refused.status_code == 400
    assert "<b>" not in refused.text


def test_offline_tokens_carry_roles_only_where_asked_for(services: RunningServices) -> None:
    for scope, expected in (("offline_access", 401), ("offline_access roles", 200)):
        device = start_device(services, "automated-access", scope)
        decide(services, device, username="alice", password="alice")
        refresh_token = poll(services, device, "automated-access").json()["refresh_token"]
        tokens = token_request(
            services,
            grant_type="refresh_token",
            client_id="automated-access",
            refresh_token=refresh_token,
            scope="",
        ).json()
        assert tokens["refresh_expires_in"] == 0
        answer = services.client.post(
            f"{services.urls.datastore}/registry/items/list",
            json={},
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
        )
        assert answer.status_code == expected
    assert answer.headers.get("www-authenticate") is None


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "password", "client_id": "client-tools"}, 400, "unauthorized_client"),
        (
            {"grant_type": "password", "client_id": "integration-tests", "username": "alice"},
            401,
            "invalid_grant",
        ),
        ({"grant_type": "refresh_token", "client_id": "nobody"}, 401, "invalid_client"),
        (
            {"grant_type": "refresh_token", "client_id": "client-tools", "refresh_token": "x"},
            400,
            "invalid_grant",
        ),
        ({"grant_type": DEVICE_GRANT, "client_id": "client-tools"}, 400, "invalid_grant"),
        ({}, 400, "unsupported_grant_type"),
    ],
)
def test_the_token_endpoint_refuses(
    services: RunningServices, form: dict[str, str], status: int, error: str
) -> None:
    answer = token_request(services, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_refresh_token_is_bound_to_its_client_and_ends_with_its_session(
    services: RunningServices,
) -> None:
    refresh_token = services.login("alice")["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    assert token_request(services, client_id="client-tools", **form).status_code == 400
    for _ in range(2):
        assert token_request(services, client_id="integration-tests", **form).status_code == 200
    url = f"{services.urls.realm}/protocol/openid-connect/logout"
    assert services.client.post(url, data={"refresh_token": refresh_token}).status_code == 204
    refused = token_request(services, client_id="integration-tests", **form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_device_codes_run_out(tmp_path: Path) -> None:
    with running_services(tmp_path, Lifetimes(access_token_s=1, device_code_s=0)) as services:
        device = start_device(services, "client-tools")
        assert poll(services, device, "client-tools").json()["error"] == "expired_token"
        assert decide(services, device, username="bob", password="bob").status_code == 400
        assert services.login("bob")["expires_in"] == 1


def _signed(services: RunningServices, claims: dict[str, Any], lifetime_s: int | None) -> str:
    with closing(Store(services.database)) as store:
        return Tokens(store).sign(claims, lifetime_s)


GOOD: dict[str, Any] = {
    "preferred_username": "alice",
    "email": "a@example.org",
    "realm_access": {"roles": ["entity-registry-read", "entity-registry-write"]},
}


@pytest.mark.parametrize(
    ("changes", "lifetime_s", "status", "detail"),
    [
        ({}, None, 200, None),
        ({"email": None}, 60, 200, None),
        ({}, -5, 401, "Could not validate credentials"),
        ({"realm_access": None}, 60, 401, "Token had incorrect structure."),
        ({"realm_access": {}}, 60, 500, None),
        ({"preferred_username": None}, 60, 500, None),
        ({"realm_access": {"roles": ["entity-registry-admin"]}}, 60, 401, "You are not authorised"),
    ],
)
def test_what_a_token_must_hold(
    services: RunningServices,
    changes: dict[str, Any],
    lifetime_s: int | None,
    status: int,
    detail: str | None,
) -> None:
    claims = {name: value for name, value in (GOOD | changes).items() if value is not None}
    answer = services.client.get(
        f"{services.urls.datastore}/check-access/check-read-access",
        headers={"Authorization": f"Bearer {_signed(services, claims, lifetime_s)}"},
    )
    assert answer.status_code == status
    if status == 401:
        assert detail is not None
        assert answer.json()["detail"].startswith(detail)
        assert answer.headers["www-authenticate"] == "Bearer"
    if status == 500:
        assert answer.text == "Internal Server Error"


def test_writing_needs_an_email_before_anything_else(services: RunningServices) -> None:
    claims = {name: value for name, value in GOOD.items() if name != "email"}
    headers = {"Authorization": f"Bearer {_signed(services, claims, 60)}"}
    url = f"{services.urls.datastore}/register/mint-dataset"
    answer = services.client.post(url, json={}, headers=headers)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer", "Bearer abc"])
def test_requests_without_a_good_token(services: RunningServices, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    url = f"{services.urls.datastore}/registry/items/list"
    answer = services.client.post(url, json={"page_size": "many"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    bad_json = services.client.post(url, content=b"{", headers=headers)
    assert bad_json.status_code == 422
    assert bad_json.json()["detail"][0]["type"] == "value_error.jsondecode"


@pytest.mark.parametrize(
    ("user", "levels"),
    [("alice", "read write"), ("bob", "read"), ("dave", ""), ("admin", "read write admin")],
)
def test_realm_roles(services: RunningServices, user: str, levels: str) -> None:
    for url in (services.urls.datastore, services.urls.registry):
        for level in ("general", "read", "write", "admin"):
            allowed = level == "general" or level in levels.split()
            answer = services.call(user, "GET", f"{url}/check-access/check-{level}-access")
            assert answer.status_code == (200 if allowed else 401)


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with running_services(tmp_path) as services:
        handle = services.mint()
        refresh_token = services.login("alice", "offline_access")["refresh_token"]
        public_key = services.client.get(services.urls.realm).json()["public_key"]
    with running_services(tmp_path) as services:
        assert services.client.get(services.urls.realm).json()["public_key"] == public_key
        form = {"grant_type": "refresh_token", "client_id": "integration-tests"}
        answer = token_request(services, refresh_token=refresh_token, **form)
        assert answer.status_code == 200
        assert services.fetch(handle)["item"]["id"] == handle
        assert services.mint() > handle
        assert time.time() - services.fetch(handle)["item"]["created_timestamp"] < 600
