"""Logging in to a running sandbox without a browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import urllib3

from provenafs.sandbox.errors import SandboxError
from provenafs.sandbox.state import Running, StateFolder
from provenafs.sandbox.store import Store
from provenafs.sandbox.tokens import Tokens
from provenafs.sandbox.users import ACCOUNTS, Account

CLIENT_ID = "integration-tests"
SCOPES = "offline_access"
_TIMEOUT_S = 10
_TOKEN_LIFETIME_S = 24 * 3600


def log_in(running: Running, username: str) -> Mapping[str, Any]:
    """The token endpoint's response to a user's password, with an offline token."""
    form = {
        "grant_type": "password",
        "client_id": CLIENT_ID,
        "scope": SCOPES,
        "username": _account(username).username,
        "password": username,
    }
    url = f"{running.realm}/protocol/openid-connect/token"
    try:
        with urllib3.PoolManager(timeout=_TIMEOUT_S, retries=False) as pool:
            answer = pool.request("POST", url, fields=form, encode_multipart=False)
    except urllib3.exceptions.HTTPError as error:
        raise SandboxError("The sandbox's realm does not answer.") from error
    if answer.status != 200:
        raise SandboxError(f"The sandbox's realm refused to log {username} in.")
    document: dict[str, Any] = json.loads(answer.data)
    return document


def long_lived_token(state: StateFolder, username: str) -> str:
    """An access token that is good for a day, for scripts that cannot refresh one."""
    account = _account(username)
    with closing(Store(state.database)) as store:
        return Tokens(store).sign({**account.claims(), "typ": "Bearer"}, _TOKEN_LIFETIME_S)


def exports(state: StateFolder, running: Running, username: str) -> dict[str, str]:
    """The environment variables that let a program use the sandbox as a user."""
    return {
        "PROVENAFS_DATASTORE_URL": running.datastore,
        "PROVENAFS_REGISTRY_URL": running.registry,
        "PROVENAFS_SEARCH_URL": running.search,
        "PROVENAFS_AUTH_URL": running.realm,
        "PROVENAFS_AUTH_API_URL": running.auth_api,
        "PROVENAFS_JOB_API_URL": running.job_api,
        "PROVENAFS_TOKEN": long_lived_token(state, username),
        "PROVENAFS_S3_ENDPOINT": running.s3_endpoint,
        "AWS_ENDPOINT_URL": running.s3_endpoint,
    }


def _account(username: str) -> Account:
    account = ACCOUNTS.get(username)
    if account is None:
        known = ", ".join(ACCOUNTS)
        raise SandboxError(f"The sandbox has no user {username!r}; there are {known}.")
    return account
