"""Sources of access tokens: the stored login of a profile, or a given token.

Nothing here asks the user anything: without a token it raises LoginRequired with the remedy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeGuard

import trio

from provenafs import private
from provenafs.config import Settings
from provenafs.provena.errors import LoginRequired
from provenafs.provena.realm import Realm
from provenafs.provena.tokens import LoginFile, Tokens, claims, is_token

log = logging.getLogger(__name__)

# A token about to expire would do so on its way, or within a slow chain of services.
_MARGIN_S = 30.0
_LOCK_TIMEOUT_S = 60.0


class TokenSource(Protocol):
    """Gives access tokens."""

    async def token(self) -> str:
        """A token that has not expired as far as we know."""

    async def renew(self, rejected: str) -> str:
        """Another token in place of one that a service has rejected; LoginRequired if none."""


def token_source(settings: Settings, realm: Realm) -> TokenSource:
    """The source that the settings name: a given token, a token file, or the profile's login."""
    if settings.token is not None:
        text = settings.token.get_secret_value()
        return GivenToken(lambda: text, "PROVENAFS_TOKEN", realm, settings.client_id)
    if settings.token_file is not None:
        path = settings.token_file
        return GivenToken(
            lambda: _read_token_file(path), f"the token file {path}", realm, settings.client_id
        )
    return StoredLogin(LoginFile(settings.state_dir, settings.profile), realm)


class StoredLogin:
    """The login that `provenafs login` stored, refreshed as needed, by one task at a time.

    A process stays the user it began as: if another user logs in to the profile meanwhile, it
    goes on with its own refresh token.
    """

    def __init__(self, file: LoginFile, realm: Realm) -> None:
        self._file = file
        self._realm = realm
        self._tokens: Tokens | None = None
        self._lock = trio.Lock()

    async def token(self) -> str:
        """A token that has not expired as far as we know; raises LoginRequired, Unavailable."""
        tokens = self._tokens
        if tokens is not None and _is_fresh(tokens):
            return tokens.access_token
        async with self._lock:
            return (await self._current(rejected=None)).access_token

    async def renew(self, rejected: str) -> str:
        """A token other than `rejected`; raises LoginRequired, Unavailable."""
        async with self._lock:
            return (await self._current(rejected)).access_token

    async def _current(self, rejected: str | None) -> Tokens:
        if _is_usable(self._tokens, rejected):
            return self._tokens
        self._tokens = self._stored()
        if _is_usable(self._tokens, rejected):
            return self._tokens
        async with self._file.locked(_LOCK_TIMEOUT_S):
            self._tokens = self._stored()
            if not _is_usable(self._tokens, rejected):
                self._tokens = await self._refreshed(self._tokens)
            return self._tokens

    def _stored(self) -> Tokens:
        stored = self._file.read()
        if stored is None:
            raise self._login_required("nobody is logged in")
        if stored.realm != self._realm.url:
            raise self._login_required(f"the stored login is for another realm ({stored.realm})")
        if self._tokens is not None and self._tokens.username != stored.username:
            return self._tokens
        return stored

    async def _refreshed(self, tokens: Tokens) -> Tokens:
        if tokens.refresh_token is None:
            raise self._login_required("the login has expired")
        try:
            renewed = await self._realm.refresh(tokens.client_id, tokens.refresh_token)
        except LoginRequired as error:
            raise self._login_required(str(error)) from error
        self._store(tokens, renewed)
        return renewed

    def _store(self, tokens: Tokens, renewed: Tokens) -> None:
        try:
            stored = self._file.read()
            if stored is not None and stored.username == tokens.username:
                self._file.write(renewed)
        except (OSError, LoginRequired) as error:
            log.warning("the renewed login is kept in memory only: %s", error)

    def _login_required(self, why: str) -> LoginRequired:
        return LoginRequired(f"{why}: run 'provenafs login --profile {self._file.profile}'")


class GivenToken:
    """A token from the environment or a file: an access token, used as it is, or a refresh or
    offline token, exchanged for access tokens that are kept in memory."""

    def __init__(self, read: Callable[[], str], origin: str, realm: Realm, client_id: str) -> None:
        """`read` returns the token's current text; `origin` is its name in messages."""
        self._read = read
        self._origin = origin
        self._realm = realm
        self._client_id = client_id
        self._exchanged: tuple[str, Tokens] | None = None
        self._lock = trio.Lock()

    async def token(self) -> str:
        """The token, or one got for it; raises LoginRequired, Unavailable."""
        return await self._current(rejected=None)

    async def renew(self, rejected: str) -> str:
        """A token other than `rejected`; raises LoginRequired, Unavailable."""
        token = await self._current(rejected)
        if token == rejected:
            raise LoginRequired(f"{self._origin} is expired or not valid: provide a new token")
        return token

    async def _current(self, rejected: str | None) -> str:
        given = self._read()
        if not given:
            raise LoginRequired(f"{self._origin} is empty")
        if not is_token(given):
            raise LoginRequired(
                f"{self._origin} holds no token: one is a single word of ASCII, on a single line"
            )
        if claims(given).get("typ") not in ("Offline", "Refresh"):
            return given
        async with self._lock:
            return (await self._exchange(given, rejected)).access_token

    async def _exchange(self, given: str, rejected: str | None) -> Tokens:
        if self._exchanged is not None:
            source, tokens = self._exchanged
            if source == given and _is_usable(tokens, rejected):
                return tokens
        client_id = claims(given).get("azp")
        try:
            tokens = await self._realm.refresh(
                client_id if isinstance(client_id, str) else self._client_id, given
            )
        except LoginRequired as error:
            raise LoginRequired(
                f"{self._origin} holds a token that is no longer accepted: provide a new one"
            ) from error
        self._exchanged = given, tokens
        return tokens


def _is_usable(tokens: Tokens | None, rejected: str | None) -> TypeGuard[Tokens]:
    return tokens is not None and _is_fresh(tokens) and tokens.access_token != rejected


def _is_fresh(tokens: Tokens) -> bool:
    return time.time() < tokens.expires_at - _MARGIN_S


def _read_token_file(path: Path) -> str:
    try:
        return private.read_secret(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise LoginRequired(f"the token file {path} cannot be read: {reason}") from error
