"""Every service of the sandbox behind one port, each under a path of its own."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from provenafs.sandbox.storage import ObjectStorage
from provenafs.sandbox.store import Store

DEFAULT_REALM = "provena"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where each service answers; none ends in a slash."""

    datastore: str
    registry: str
    search: str
    auth_api: str
    job_api: str
    realm: str

    @classmethod
    def at(cls, base: str) -> Urls:
        """The services' addresses under one base such as `http://127.0.0.1:8000`."""
        return cls(
            datastore=f"{base}/data-store",
            registry=f"{base}/registry",
            search=f"{base}/search",
            auth_api=f"{base}/auth-api",
            job_api=f"{base}/job-api",
            realm=f"{base}/auth/realms/{DEFAULT_REALM}",
        )


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what the sandbox issues is good for, in seconds."""

    access_token_s: int = 300
    refresh_token_s: int = 1800
    offline_token_s: int = 30 * 24 * 3600
    device_code_s: int = 600
    credentials_s: int = 28800


async def serve(
    store: Store,
    storage: ObjectStorage,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    lifetimes: Lifetimes = Lifetimes(),  # noqa: B008
    task_status: trio.TaskStatus[Urls] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run every service until cancelled; reports the Urls once they answer. Port 0: any free."""
    raise NotImplementedError
