"""All services of the sandbox on one port, each under its own path."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import hypercorn
import hypercorn.trio
import trio
from fastapi import APIRouter, FastAPI

from provenafs.sandbox import (
    auth_routes,
    datastore_routes,
    jobs_routes,
    registry_routes,
    search,
)
from provenafs.sandbox.endpoint import install_error_answers
from provenafs.sandbox.oidc import OAuthError, Realm
from provenafs.sandbox.oidc_routes import oauth_refusal, realm_router
from provenafs.sandbox.provision import provision
from provenafs.sandbox.services import Lifetimes, Services
from provenafs.sandbox.storage import ObjectStorage
from provenafs.sandbox.store import Store

__all__ = ["Lifetimes", "Urls", "create_app", "serve"]

REALM = "provena"
_BACKLOG = 128
_SHUTDOWN_S = 1.0


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
            realm=f"{base}/auth/realms/{REALM}",
        )


async def serve(
    store: Store,
    storage: ObjectStorage,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    lifetimes: Lifetimes = Lifetimes(),  # noqa: B008
    task_status: trio.TaskStatus[Urls] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run every service until cancelled; reports the Urls once they answer. Port 0: any free.

    OSError if the port is taken.
    """
    listener = _listening_socket(host, port)
    urls = Urls.at(f"http://{host}:{listener.getsockname()[1]}")
    services = Services.of(store, storage, lifetimes)
    provision(services)
    config = hypercorn.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = _SHUTDOWN_S
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        await nursery.start(hypercorn.trio.serve, create_app(services, urls), config)
        task_status.started(urls)


def create_app(services: Services, urls: Urls) -> FastAPI:
    """The ASGI application: one FastAPI app for each service, and the realm."""
    app = FastAPI(title="Provena sandbox", openapi_url=None)
    realm = Realm(services.store, services.tokens, services.lifetimes, urls.realm)
    app.include_router(
        realm_router(realm, services.tokens, urls.realm), prefix=f"/auth/realms/{REALM}"
    )
    app.add_exception_handler(OAuthError, oauth_refusal)
    for name, router in _ROUTERS.items():
        app.mount(f"/{name}", _service(name, router, services))
    return app


_ROUTERS: dict[str, APIRouter] = {
    "data-store": datastore_routes.router,
    "registry": registry_routes.router,
    "search": search.router,
    "auth-api": auth_routes.router,
    "job-api": jobs_routes.router,
}


def _service(name: str, router: APIRouter, services: Services) -> FastAPI:
    service = FastAPI(title=f"Provena sandbox: {name}")
    service.state.services = services
    install_error_answers(service)

    @service.get("/")
    async def health() -> dict[str, str]:
        return {"message": "Health check successful."}

    service.include_router(router)
    return service


def _listening_socket(host: str, port: int) -> socket.socket:
    """Bound before anything else, because the services must know their own address."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
