"""The realm: logins and tokens, as Keycloak issues them for the grants used."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from provenafs.sandbox.services import Lifetimes
from provenafs.sandbox.store import Document, Kind, Store
from provenafs.sandbox.tokens import InvalidToken, Tokens
from provenafs.sandbox.users import ACCOUNTS, Account

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
POLL_INTERVAL_S = 1
_POLL_TOLERANCE_S = 0.2
_USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_OFFLINE = "offline_access"


@dataclass(frozen=True, slots=True)
class Client:
    """An application of the realm; all of them are public."""

    default_scopes: tuple[str, ...]
    optional_scopes: tuple[str, ...] = ()
    password_grant: bool = False


CLIENTS = {
    "client-tools": Client(("profile", "roles", "email")),
    # As in the real realm, its tokens carry roles only where they were asked for.
    "automated-access": Client(("profile", "email"), ("roles", _OFFLINE)),
    "admin-tools": Client(("profile", "roles", "email")),
    "integration-tests": Client(("profile", "roles", "email"), (_OFFLINE,), password_grant=True),
}


class OAuthError(Exception):
    """A refusal in the words of RFC 6749 and RFC 8628; answered 400 or 401."""

    def __init__(self, error: str, description: str | None = None, status: int = 400) -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error}
        if description is not None:
            self.content["error_description"] = description


class Realm:
    """Logins, their sessions, and devices that wait for one. All of it survives a restart."""

    def __init__(self, store: Store, tokens: Tokens, lifetimes: Lifetimes, url: str) -> None:
        self._store = store
        self._tokens = tokens
        self._lifetimes = lifetimes
        self._url = url

    def start_device(self, form: dict[str, str]) -> Document:
        """A new device and user code."""
        client_id = form.get("client_id", "")
        scopes = _scopes(_client(client_id), form.get("scope", ""))
        self._forget_expired_devices()
        user_code = "-".join(
            "".join(secrets.choice(_USER_CODE_LETTERS) for _ in range(4)) for _ in range(2)
        )
        device_code = secrets.token_urlsafe(32)
        device = {
            "device_code": device_code,
            "client_id": client_id,
            "scopes": scopes,
            "expires": time.time() + self._lifetimes.device_code_s,
            "polled": 0.0,
            "state": "pending",
        }
        self._store.put(Kind.DEVICE, user_code, device)
        page = f"{self._url}/device"
        return {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={user_code}",
            "expires_in": self._lifetimes.device_code_s,
            "interval": POLL_INTERVAL_S,
        }

    def decide_device(self, user_code: str, username: str, password: str, allow: bool) -> None:
        """The decision made on the device page; HTTP 400 or 401 if it is invalid."""
        device = self._store.get(Kind.DEVICE, user_code.strip().upper())
        if device is None or device["expires"] < time.time() or device["state"] != "pending":
            raise HTTPException(400, "This code is unknown or no longer valid.")
        account = ACCOUNTS.get(username)
        if account is None or not account.accepts(password):
            raise HTTPException(401, "Wrong user name or password.")
        device.update(state="approved" if allow else "denied", username=username)
        self._store.put(Kind.DEVICE, user_code.strip().upper(), device)

    def grant(self, form: dict[str, str]) -> Document:
        """The answer of the token endpoint."""
        grants = {
            "password": self._password,
            "refresh_token": self._refresh,
            DEVICE_GRANT: self._device,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise OAuthError("unsupported_grant_type", "Unsupported grant_type")
        return grant(form)

    def end(self, form: dict[str, str]) -> None:
        """End the session of a refresh token; an unknown one is none any more."""
        try:
            claims = self._tokens.verify(form.get("refresh_token") or form.get("token", ""))
        except InvalidToken:
            return
        self._store.remove(Kind.SESSION, claims.get("sid", ""))

    def _password(self, form: dict[str, str]) -> Document:
        client_id = form.get("client_id", "")
        client = _client(client_id)
        if not client.password_grant:
            raise OAuthError("unauthorized_client", "Client not allowed for direct access grants")
        account = ACCOUNTS.get(form.get("username", ""))
        if account is None or not account.accepts(form.get("password", "")):
            raise OAuthError("invalid_grant", "Invalid user credentials", 401)
        return self._begin(account, client_id, _scopes(client, form.get("scope", "")))

    def _device(self, form: dict[str, str]) -> Document:
        found = [
            (code, device)
            for code, device in self._store.all(Kind.DEVICE)
            if device["device_code"] == form.get("device_code")
        ]
        if not found or found[0][1]["client_id"] != form.get("client_id"):
            raise OAuthError("invalid_grant", "Device code not valid")
        user_code, device = found[0]
        now = time.time()
        if device["expires"] < now:
            raise OAuthError("expired_token", "Device code is expired")
        early = now - device["polled"] < POLL_INTERVAL_S - _POLL_TOLERANCE_S
        if device["state"] == "pending":
            self._store.put(Kind.DEVICE, user_code, {**device, "polled": now})
            raise OAuthError("slow_down" if early else "authorization_pending")
        self._store.remove(Kind.DEVICE, user_code)
        if device["state"] == "denied":
            raise OAuthError("access_denied", "The end user denied the authorization request")
        return self._begin(ACCOUNTS[device["username"]], device["client_id"], device["scopes"])

    def _refresh(self, form: dict[str, str]) -> Document:
        client_id = form.get("client_id", "")
        _client(client_id)
        try:
            claims = self._tokens.verify(form.get("refresh_token", ""))
        except InvalidToken as error:
            raise OAuthError("invalid_grant", "Invalid refresh token") from error
        if claims.get("typ") not in ("Refresh", "Offline"):
            raise OAuthError("invalid_grant", "Invalid refresh token")
        session = self._store.get(Kind.SESSION, claims["sid"])
        if session is None or session["expires"] < time.time():
            raise OAuthError("invalid_grant", "Token is not active")
        if session["client_id"] != client_id:
            raise OAuthError(
                "invalid_grant",
                "Invalid refresh token. Token client and authorized client don't match",
            )
        return self._answer(claims["sid"], session)

    def _begin(self, account: Account, client_id: str, scopes: list[str]) -> Document:
        session = {"username": account.username, "client_id": client_id, "scopes": scopes}
        self._forget_expired_sessions()
        return self._answer(str(uuid.uuid4()), session)

    def _answer(self, session_id: str, session: Document) -> Document:
        """Fresh tokens for a session, which lives on from now."""
        scopes, offline = session["scopes"], _OFFLINE in session["scopes"]
        lifetimes = self._lifetimes
        idle_s = lifetimes.offline_token_s if offline else lifetimes.refresh_token_s
        session = {**session, "expires": time.time() + idle_s}
        self._store.put(Kind.SESSION, session_id, session)
        scope = " ".join(scopes)
        common = {"iss": self._url, "azp": session["client_id"], "sid": session_id, "scope": scope}
        account = ACCOUNTS[session["username"]]
        access = {**_claims(account, scopes), **common, "typ": "Bearer", "aud": "account"}
        refresh = {**common, "typ": "Offline" if offline else "Refresh", "aud": self._url}
        return {
            "access_token": self._tokens.sign(access, lifetimes.access_token_s),
            "expires_in": lifetimes.access_token_s,
            # An offline token has no end of its own: Keycloak reports 0.
            "refresh_expires_in": 0 if offline else idle_s,
            "refresh_token": self._tokens.sign(refresh, None if offline else idle_s),
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": session_id,
            "scope": scope,
        }

    def _forget_expired_devices(self) -> None:
        for code, device in self._store.all(Kind.DEVICE):
            # Kept for a while longer, so that a late poll hears why.
            if device["expires"] + self._lifetimes.device_code_s < time.time():
                self._store.remove(Kind.DEVICE, code)

    def _forget_expired_sessions(self) -> None:
        for session_id, session in self._store.all(Kind.SESSION):
            if session["expires"] < time.time():
                self._store.remove(Kind.SESSION, session_id)


def _client(client_id: str) -> Client:
    client = CLIENTS.get(client_id)
    if client is None:
        raise OAuthError("invalid_client", "Invalid client or Invalid client credentials", 401)
    return client


def _scopes(client: Client, asked: str) -> list[str]:
    extra = [scope for scope in asked.split() if scope != "openid"]
    unknown = set(extra) - {*client.default_scopes, *client.optional_scopes}
    if unknown:
        raise OAuthError("invalid_scope", f"Invalid scopes: {asked}")
    return list(dict.fromkeys([*client.default_scopes, *extra]))


def _claims(account: Account, scopes: list[str]) -> dict[str, Any]:
    claims = account.claims()
    if "roles" not in scopes:
        del claims["realm_access"]
    return claims
