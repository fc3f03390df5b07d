"""The process of a sandbox: it runs every service over a state folder."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial

import trio

from provenafs.sandbox.app import Urls, serve
from provenafs.sandbox.gateway import GatewayKeys, running_gateway
from provenafs.sandbox.s3_front import running_strict_gateway
from provenafs.sandbox.seeds import seed
from provenafs.sandbox.state import Running, StateFolder, write_document
from provenafs.sandbox.store import Store


async def run(
    state: StateFolder, ready: Callable[[Running], None], *, is_strict: bool = False
) -> None:
    """Run a sandbox until SIGINT or SIGTERM, seeding it first where it is new.

    `ready` is called in a thread once every service answers. Strict means that S3 answers as AWS
    does, by way of a front. Raises SandboxError, in an exception group.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        with state.claimed():
            await _run_services(state, ready, is_strict)


async def _run_services(
    state: StateFolder, ready: Callable[[Running], None], is_strict: bool
) -> None:
    port, s3_port, keys = _ports_and_keys(state)
    is_new = state.drop_unfinished()
    with closing(Store(state.database)) as store:
        running = running_strict_gateway if is_strict else running_gateway
        async with running(state.objects, s3_port, keys) as gateway:
            if is_new:
                await seed(store, gateway, state.manifest)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gateway.watch)
                urls: Urls = await nursery.start(partial(serve, store, gateway, port=port))
                where = Running(pid=os.getpid(), s3_endpoint=gateway.endpoint, **asdict(urls))
                # In a thread, because whatever it asks of the services is answered in this one.
                await trio.to_thread.run_sync(ready, where)
                state.announce(where)


def _ports_and_keys(state: StateFolder) -> tuple[int, int, GatewayKeys]:
    """The ports of the services and of S3, kept for as long as they are free, and the keys."""
    saved = json.loads(state.settings.read_text()) if state.settings.exists() else {}
    port, s3_port = _free_ports(saved.get("port", 0), saved.get("s3_port", 0))
    keys = GatewayKeys(**saved["keys"]) if "keys" in saved else _new_keys()
    write_document(state.settings, {"port": port, "s3_port": s3_port, "keys": asdict(keys)})
    return port, s3_port, keys


async def _cancel_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _free_ports(*wished: int) -> list[int]:
    """A free loopback port for each one wished for: that one if it is free, else any."""
    listeners = [_bound(port) for port in wished]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    return listener


def _new_keys() -> GatewayKeys:
    return GatewayKeys(
        root_user="sandbox-root",
        root_password=secrets.token_urlsafe(24),
        service_user="sandbox-service",
        service_secret=secrets.token_urlsafe(24),
    )
