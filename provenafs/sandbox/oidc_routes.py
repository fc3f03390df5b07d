"""The routes of the realm, and the page for confirming a device login."""

from __future__ import annotations

import html
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from provenafs.sandbox.oidc import DEVICE_GRANT, OAuthError, Realm
from provenafs.sandbox.tokens import Tokens

_CONNECT = "/protocol/openid-connect"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Provena sandbox</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 24em; margin: 4em auto; padding: 0 1em }}
label {{ display: block; margin: 1em 0 }} input {{ width: 100%; font: inherit; padding: .3em }}
button {{ font: inherit; padding: .3em 1em }} .error {{ color: #a00 }}
</style></head><body><h1>Provena sandbox</h1>{content}</body></html>
"""
_FORM = """<p>A device asks to be logged in. Approve only the code that it shows.</p>
<p class="error" role="alert">{error}</p>
<form method="post">
<label>Code <input name="user_code" value="{user_code}" required autocomplete="off"></label>
<label>User name <input name="username" value="{username}" required></label>
<label>Password <input name="password" type="password"></label>
<button name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button>
</form>"""


def realm_router(realm: Realm, tokens: Tokens, url: str) -> APIRouter:
    """Every route of one realm, below its URL."""
    router = APIRouter()
    _add_description(router, tokens, url)
    _add_grants(router, realm)
    _add_device_page(router, realm)
    return router


async def oauth_refusal(_: Request, error: Exception) -> Response:
    """An OAuthError as the token endpoint answers it."""
    assert isinstance(error, OAuthError)
    return JSONResponse(error.content, error.status)


def _add_description(router: APIRouter, tokens: Tokens, url: str) -> None:

    @router.get("")
    async def describe() -> Any:
        return {
            "realm": url.rsplit("/", 1)[1],
            "public_key": tokens.public_key,
            "token-service": f"{url}{_CONNECT}",
            "account-service": f"{url}/account",
            "tokens-not-before": 0,
        }

    @router.get("/.well-known/openid-configuration")
    async def discover() -> Any:
        return _discovery(url)

    @router.get(f"{_CONNECT}/certs")
    async def certificates() -> Any:
        return tokens.key_set()


def _add_grants(router: APIRouter, realm: Realm) -> None:
    @router.post(f"{_CONNECT}/token")
    async def token(request: Request) -> Response:
        return _uncached(realm.grant(await _form(request)))

    @router.post(f"{_CONNECT}/auth/device")
    async def device(request: Request) -> Response:
        return _uncached(realm.start_device(await _form(request)))

    @router.post(f"{_CONNECT}/logout")
    async def logout(request: Request) -> Response:
        realm.end(await _form(request))
        return Response(status_code=204)

    @router.post(f"{_CONNECT}/revoke")
    async def revoke(request: Request) -> Response:
        realm.end(await _form(request))
        return Response()


def _add_device_page(router: APIRouter, realm: Realm) -> None:
    @router.get("/device")
    async def device_page(user_code: str = "") -> Response:
        return _page(_FORM.format(error="", user_code=html.escape(user_code), username=""))

    @router.post("/device")
    async def decide(request: Request) -> Response:
        return _decided(realm, await _form(request))


def _decided(realm: Realm, form: dict[str, str]) -> Response:
    user_code, username = form.get("user_code", ""), form.get("username", "")
    allow = form.get("decision", "approve") != "deny"
    try:
        realm.decide_device(user_code, username, form.get("password", ""), allow)
    except HTTPException as error:
        filled = {"user_code": html.escape(user_code), "username": html.escape(username)}
        return _page(_FORM.format(error=html.escape(error.detail), **filled), error.status_code)
    told = "The device is logged in." if allow else "The device was refused."
    return _page(f"<p>{told} You can close this window.</p>")


async def _form(request: Request) -> dict[str, str]:
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _uncached(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(content=content), status)


def _discovery(url: str) -> dict[str, Any]:
    return {
        "issuer": url,
        "token_endpoint": f"{url}{_CONNECT}/token",
        "device_authorization_endpoint": f"{url}{_CONNECT}/auth/device",
        "jwks_uri": f"{url}{_CONNECT}/certs",
        "revocation_endpoint": f"{url}{_CONNECT}/revoke",
        "end_session_endpoint": f"{url}{_CONNECT}/logout",
        "grant_types_supported": ["refresh_token", "password", DEVICE_GRANT],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
        "response_types_supported": ["none"],
        "scopes_supported": ["profile", "email", "roles", "offline_access"],
    }
