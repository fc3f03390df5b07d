"""A login's tokens, and the file that keeps them between runs and shares them among processes."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

import trio

from provenafs import private
from provenafs.provena.errors import LoginRequired, Unavailable
from provenafs.provena.reading import number, parse_json

_LOCK_POLL_S = 0.05
# Characters allowed in a header: a line break would start another one.
_TOKEN = re.compile(r"[!-~]{1,65536}")
_FAR_FUTURE_S = 2.0**40


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens a realm issued to a client. The repr omits them.

    `expires_at` is in seconds since the epoch by this machine's clock: when the answer came plus
    the token's lifetime, so that a clock that differs from the realm's does not matter.
    """

    realm: str
    client_id: str
    access_token: str
    expires_at: float
    refresh_token: str | None

    @property
    def username(self) -> str | None:
        """Whose tokens these are."""
        name = claims(self.access_token).get("preferred_username")
        return name if isinstance(name, str) else None

    def __repr__(self) -> str:
        return f"Tokens(realm={self.realm!r}, client_id={self.client_id!r})"


def is_token(value: object) -> TypeGuard[str]:
    """Whether this can be sent as a token: one word of ASCII."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def claims(token: str) -> dict[str, Any]:
    """The claims of a token, unverified; {} if it is no JSON web token."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = parse_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


class LoginFile:
    """The tokens of one profile, in a 0600 file within a 0700 directory.

    Whoever exchanges a refresh token holds the lock meanwhile, so that of several processes of a
    profile one refreshes and the others find the result.
    """

    def __init__(self, state_dir: Path, profile: str) -> None:
        self.profile = profile
        self._path = state_dir / "tokens" / f"{profile}.json"

    def read(self) -> Tokens | None:
        """The stored tokens, or None.

        Raises LoginRequired if the file is there but cannot be used.
        """
        try:
            return _tokens(parse_json(private.read_secret(self._path)))
        except FileNotFoundError:
            return None
        except private.Untrusted as error:
            raise LoginRequired(
                f"the stored login {self._path} is not used, {error.strerror};"
                f" run 'provenafs login --profile {self.profile}'"
            ) from error
        except (OSError, ValueError) as error:
            raise LoginRequired(
                f"the stored login {self._path} cannot be read;"
                f" run 'provenafs login --profile {self.profile}'"
            ) from error

    def read_if_usable(self) -> Tokens | None:
        """The stored tokens, or None also where the file cannot be used."""
        try:
            return self.read()
        except LoginRequired:
            return None

    def write(self, tokens: Tokens) -> None:
        """Replace the stored tokens, as a whole or not at all; raises OSError."""
        self._make_directory()
        private.replace(self._path, json.dumps(asdict(tokens)))

    def delete(self) -> bool:
        """Delete the login; returns whether there was one."""
        existed = self._path.exists()
        self._path.unlink(missing_ok=True)
        return existed

    @asynccontextmanager
    async def locked(self, timeout: float) -> AsyncIterator[None]:
        """Hold the lock; raises Unavailable if another process keeps it for `timeout` seconds."""
        try:
            self._make_directory()
            lock = await self._lock(timeout)
        except private.Untrusted as error:
            message = (
                f"the login '{self.profile}' cannot be used, {error.filename}: {error.strerror}"
            )
            raise LoginRequired(message) from error
        except OSError:
            # Without a place for the lock there is none for the tokens either: nobody to wait for.
            yield
            return
        try:
            yield
        finally:
            os.close(lock)

    async def _lock(self, timeout: float) -> int:
        with trio.move_on_after(timeout):
            while True:
                with suppress(BlockingIOError):
                    return private.open_locked(self._path.with_suffix(".lock"))
                await trio.sleep(_LOCK_POLL_S)
        raise Unavailable(f"another process is still renewing the login '{self.profile}'")

    def _make_directory(self) -> None:
        private.top_folder(self._path.parent.parent)
        private.folder(self._path.parent)


def _tokens(fields: object) -> Tokens:
    """The tokens of a file; raises ValueError if they are none."""
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    names = ("realm", "client_id", "access_token", "refresh_token")
    realm, client_id, access, refresh = (fields.get(name) for name in names)
    if not isinstance(realm, str) or not isinstance(client_id, str) or not is_token(access):
        raise ValueError("no login")
    if refresh is not None and not is_token(refresh):
        raise ValueError("no refresh token")
    expires_at = number(fields.get("expires_at"), 0, 0, _FAR_FUTURE_S)
    return Tokens(realm, client_id, access, expires_at, refresh)
