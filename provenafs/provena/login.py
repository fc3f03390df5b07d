"""Logging in and out: the only place that waits for the user."""

from __future__ import annotations

from collections.abc import Callable

from provenafs.config import Settings
from provenafs.provena.errors import Unauthorised, Unavailable
from provenafs.provena.realm import DeviceLogin, Realm
from provenafs.provena.tokens import LoginFile, Tokens
from provenafs.provena.transport import Transport

# The realm's client for tokens that outlive a session. Its tokens carry roles only on demand.
_OFFLINE_CLIENT = "automated-access"
_OFFLINE_SCOPES = "offline_access roles"
_LOCK_TIMEOUT_S = 60.0


async def log_in(
    settings: Settings, tell: Callable[[DeviceLogin], None], *, offline: bool = False
) -> Tokens:
    """Log the profile in; `tell` shows the user the address to confirm it at.

    `offline` asks for tokens that last without a session, for machines; they end when unused for
    long, 30 days by default. Raises ConfigError, LoginRequired, Unauthorised, Invalid, Unavailable.
    """
    client_id, scopes = settings.client_id, settings.scopes
    if offline and "client_id" not in settings.model_fields_set:
        client_id = _OFFLINE_CLIENT
    if offline and "scopes" not in settings.model_fields_set:
        scopes = _OFFLINE_SCOPES
    file = LoginFile(settings.state_dir, settings.profile)
    async with Transport.open(settings.api_timeout) as transport:
        realm = Realm(settings.services.realm, transport)
        await realm.check()
        login = await realm.begin_device_login(client_id, scopes)
        tell(login)
        tokens = await realm.finish_device_login(client_id, login)
    if tokens.username is None:
        raise Unauthorised(f"the realm {realm.url} returned a token that names no user")
    async with file.locked(_LOCK_TIMEOUT_S):
        file.write(tokens)
    return tokens


async def log_out(settings: Settings) -> bool:
    """Delete the profile's login and end its session; returns whether there was one.

    Raises Unavailable if the login is deleted here but the realm did not end the session.
    """
    file = LoginFile(settings.state_dir, settings.profile)
    async with file.locked(_LOCK_TIMEOUT_S):
        tokens = file.read_if_usable()
        if not file.delete() or tokens is None or tokens.refresh_token is None:
            return tokens is not None
    async with Transport.open(settings.api_timeout) as transport:
        try:
            realm = Realm(tokens.realm, transport)
            await realm.logout(tokens.client_id, tokens.refresh_token)
        except Unavailable as error:
            raise Unavailable(
                f"the login is deleted here, but its session could not be ended: {error}",
                error.status,
            ) from error
    return True
