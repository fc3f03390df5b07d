"""A proxy in front of the gateway that adds the behaviour of AWS.

PutObject, CopyObject, CompleteMultipartUpload
    If-Match: 412 for another ETag, 404 without an object. If-None-Match: 412 with an object; any
    value but `*`, or both headers at once, is 501.
    (User Guide, conditional-writes; the headers in API_PutObject, API_CopyObject and
    API_CompleteMultipartUpload.)
CopyObject, UploadPartCopy
    The ETags asked of the source are looked at in the same step as those of the target; its times
    are the server's to compare. (API_CopyObject, API_UploadPartCopy.)
DeleteObject
    If-Match, `*` included: 412 for another ETag, 404 without an object.
    (User Guide, conditional-deletes; API_DeleteObject.)
DeleteObjects
    `x-amz-checksum-*` in place of Content-MD5; a key with an ETag is deleted only if that is the
    object's; the answer names what was deleted. (User Guide, checking-object-integrity-upload and
    conditional-deletes; API_ObjectIdentifier; API_DeletedObject.)
GetObject, HeadObject
    A condition that does not hold is 412 or 304 even where the range is 416.
    (API_GetObject, which follows RFC 7232: conditions are looked at before the range.)
Objects whose key ends in a slash
    They have an ETag, that of nothing, in every answer and in listings. (API_Object.)
Keys above 1,024 bytes
    KeyTooLongError. (User Guide, object-keys; API ErrorResponses.)

The check of a condition and the change are one step: whoever changes an object holds its key, also
without a condition, and every request comes through here, those of the services too.

A request reaches the gateway as it was signed; only headers that no signature covers are added.
The front looks into the bucket with the owner's keys, and signs with the client's own those
DeleteObjects that it had to take keys out of; keys it does not know (issued before a restart) are
answered as expired then. Less exact than AWS: a request without a body is told that its condition
does not hold before its rights are looked at.

Each connection has a thread, which costs the least for bodies that only pass through. There are no
more than 250, each with a head of up to 64 KiB and a buffer of 256 KiB, of DeleteObjects 2 MiB and
of listings 16 MiB; a socket that is silent for two minutes is closed, and nobody waits longer than
a minute for a key.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from provenafs.sandbox.gateway import REGION, Gateway, GatewayKeys, running_gateway
from provenafs.sandbox.s3_conditions import Refusal
from provenafs.sandbox.s3_exchange import Connection, Site
from provenafs.sandbox.s3_wire import Request, Stream

_MAX_CONNECTIONS = 250  # with up to three sockets each, of the usual 1,024 descriptors
_BACKLOG = 128
_PAUSE_S = 0.1
_NO_REQUEST = Request(b"", "GET", "/", "", "", {}, {})


@asynccontextmanager
async def running_strict_gateway(
    folder: Path, port: int, keys: GatewayKeys
) -> AsyncIterator[Gateway]:
    """A gateway as running_gateway gives it, on a port of its own behind a front on `port`."""
    async with running_gateway(folder, _free_port(), keys) as bare:
        gateway = bare.through(port)
        site = Site(bare.address, REGION, bare.owner, gateway.issued)
        async with running_front(port, site):
            yield gateway


@asynccontextmanager
async def running_front(port: int, site: Site) -> AsyncIterator[None]:
    """Answer on a loopback port in front of a site's server; every connection ends with it.

    OSError if the port is taken.
    """
    front = _Front(site)
    with trio.socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.accept, listener, nursery)
            try:
                yield
            finally:
                front.cut()
                nursery.cancel_scope.cancel()


class _Front:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._connections: set[Connection] = set()
        self._limiter = trio.CapacityLimiter(_MAX_CONNECTIONS)
        self._is_ending = False

    async def accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        while True:
            try:
                accepted, _ = await listener.accept()
                stream = Stream(socket.socket(fileno=accepted.detach()))
            except OSError:  # the client has gone, or there are no descriptors for now
                await trio.sleep(_PAUSE_S)
                continue
            if len(self._connections) < _MAX_CONNECTIONS:
                nursery.start_soon(self._serve, Connection(stream, self._site))
            else:
                _turn_away(stream)

    async def _serve(self, connection: Connection) -> None:
        self._connections.add(connection)
        try:
            # A thread cannot be cancelled: `cut` ends it.
            with trio.CancelScope(shield=True):
                if not self._is_ending:
                    await trio.to_thread.run_sync(connection.serve, limiter=self._limiter)
        finally:
            self._connections.discard(connection)
            connection.close()

    def cut(self) -> None:
        self._is_ending = True
        for connection in self._connections:
            connection.cut()


def _turn_away(stream: Stream) -> None:
    with suppress(OSError):
        stream.send(Refusal.BUSY.answer(_NO_REQUEST, is_last=True))
    stream.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
