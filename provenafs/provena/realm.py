"""The OAuth 2.0 requests to the Keycloak realm: device login, refresh, logout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from provenafs.provena.errors import Invalid, LoginRequired, Unauthorised, Unavailable
from provenafs.provena.reading import number, text_or_none
from provenafs.provena.tokens import Tokens, is_token
from provenafs.provena.transport import Reply, Request, Transport, filtered

_SERVICE = "the login service"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DEFAULT_INTERVAL_S = 5.0
_SHORTEST_INTERVAL_S = 0.1
_SLOW_DOWN_S = 5.0
_DEFAULT_LIFETIME_S = 60.0
_DEFAULT_DEVICE_S = 600.0
_LONGEST_S = 24 * 3600.0
"""Of waiting for a confirmation, and of trusting a token without asking."""
_LONGEST_ANSWER = 512 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """A login begun; the user has `expires_in` seconds to confirm it in a browser."""

    user_code: str
    verification_uri_complete: str
    expires_in: float
    interval: float
    device_code: str = field(repr=False)


class Realm:
    """One Keycloak realm, as `https://auth.<domain>/auth/realms/<name>`."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.url = url
        self._transport = transport

    async def check(self) -> None:
        """Raises Unavailable unless a realm answers at the address."""
        request = Request("GET", self.url, _SERVICE, longest=_LONGEST_ANSWER)
        reply = await self._transport.send(request)
        if reply.status != 200 or not self._document(reply).get("public_key"):
            raise self._no_realm(reply)

    async def begin_device_login(self, client_id: str, scopes: str) -> DeviceLogin:
        """Ask for a code that the user confirms in a browser (RFC 8628).

        Raises Invalid if the realm refuses the client or the scopes.
        """
        form = {"client_id": client_id} | ({"scope": scopes} if scopes else {})
        reply = await self._post("auth/device", form)
        answer = self._document(reply)
        if reply.status != 200:
            raise Invalid(
                f"the realm {self.url} does not let client '{client_id}' log in like this:"
                f" {reply.detail or f'HTTP status {reply.status}'}"
            )
        page, code = text_or_none(answer.get("verification_uri")), answer.get("device_code")
        user_code = text_or_none(answer.get("user_code"))
        if page is None or user_code is None or not is_token(code):
            raise self._no_realm(reply)
        complete = text_or_none(answer.get("verification_uri_complete"))
        return DeviceLogin(
            user_code=user_code,
            verification_uri_complete=complete or page,
            expires_in=number(answer.get("expires_in"), _DEFAULT_DEVICE_S, 0, _LONGEST_S),
            interval=number(answer.get("interval"), _DEFAULT_INTERVAL_S, 0, _LONGEST_S),
            device_code=code,
        )

    async def finish_device_login(self, client_id: str, login: DeviceLogin) -> Tokens:
        """Wait until the user has confirmed the login.

        Raises LoginRequired if the code expires, Unauthorised if the user refuses, Invalid for
        any other answer.
        """
        interval = max(login.interval, _SHORTEST_INTERVAL_S)
        form = {
            "grant_type": _DEVICE_GRANT,
            "client_id": client_id,
            "device_code": login.device_code,
        }
        with trio.move_on_after(login.expires_in):
            while True:
                await trio.sleep(interval)
                asked_at = time.time()
                try:
                    reply = await self._post("token", form)
                except Unavailable:
                    continue  # the user may still be reading; the code's expiry ends the wait
                if reply.status == 200:
                    return self._tokens(client_id, reply, asked_at)
                if _error(reply) == "slow_down":
                    interval += _SLOW_DOWN_S
                elif _error(reply) != "authorization_pending":
                    raise self._refusal(reply)
        raise LoginRequired("the login was not confirmed in time; start it again")

    async def refresh(self, client_id: str, refresh_token: str) -> Tokens:
        """New tokens for a refresh or offline token; LoginRequired if it is no longer accepted."""
        asked_at = time.time()
        form = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "refresh_token": refresh_token,
        }
        reply = await self._post("token", form)
        if reply.status == 200:
            return self._tokens(client_id, reply, asked_at, refresh_token)
        if not _error(reply):
            raise self._no_realm(reply)
        raise LoginRequired(f"the login has expired or was ended ({_error(reply)})")

    async def logout(self, client_id: str, refresh_token: str) -> None:
        """End the session of a refresh token, if the realm still knows it."""
        await self._post("logout", {"client_id": client_id, "refresh_token": refresh_token})

    async def _post(self, path: str, form: Mapping[str, str]) -> Reply:
        url = f"{self.url}/protocol/openid-connect/{path}"
        request = Request("POST", url, _SERVICE, form=form, longest=_LONGEST_ANSWER)
        return await self._transport.send(request)

    def _tokens(
        self, client_id: str, reply: Reply, asked_at: float, refresh_token: str | None = None
    ) -> Tokens:
        answer = self._document(reply)
        access, renewed = answer.get("access_token"), answer.get("refresh_token") or refresh_token
        if not access:
            raise self._no_realm(reply)
        if not is_token(access) or not (renewed is None or is_token(renewed)):
            raise Unavailable(f"the realm {self.url} returned an invalid token", reply.status)
        lifetime = number(answer.get("expires_in"), _DEFAULT_LIFETIME_S, 0, _LONGEST_S)
        return Tokens(
            realm=self.url,
            client_id=client_id,
            access_token=access,
            expires_at=asked_at + (lifetime or _DEFAULT_LIFETIME_S),
            refresh_token=renewed,
        )

    def _document(self, reply: Reply) -> dict[str, Any]:
        if reply.status == 404 or not isinstance(reply.document, dict):
            raise self._no_realm(reply)
        return reply.document

    def _no_realm(self, reply: Reply) -> Unavailable:
        return Unavailable(
            f"there is no Keycloak realm at {self.url} (HTTP status {reply.status});"
            " check 'realm', 'domain' or 'auth_url'",
            reply.status,
        )

    def _refusal(self, reply: Reply) -> Exception:
        match _error(reply):
            case "expired_token":
                return LoginRequired("the login was not confirmed in time; start it again")
            case "access_denied":
                return Unauthorised("the login was refused in the browser")
            case "":
                return self._no_realm(reply)
            case _:
                return Invalid(f"the realm {self.url} ended the login: {reply.detail}")


def _error(reply: Reply) -> str:
    document = reply.document
    return filtered(str(document.get("error") or "")) if isinstance(document, dict) else ""
