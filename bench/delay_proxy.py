"""A TCP proxy in a process of its own that delays bytes both ways and counts them.

Bandwidth is not limited: what arrives is sent on one delay later, however much it is. A new
connection costs one round trip more, as a TCP handshake over the delayed path would. Every line
on its standard input is answered by a line of counts; it ends when that input does.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import trio

_CHUNK_BYTES = 256 * 1024
_CHUNKS_ON_THE_WAY = 1024
_END_WITHIN_S = 5


@dataclass(slots=True)
class Counts:
    """Bytes of all connections so far, protocol included, seen from the client."""

    sent: int = 0
    received: int = 0
    connections: int = 0

    def since(self, earlier: Counts) -> Counts:
        """What has been added to an earlier count."""
        return Counts(
            self.sent - earlier.sent,
            self.received - earlier.received,
            self.connections - earlier.connections,
        )


@dataclass(frozen=True, slots=True)
class DelayProxy:
    """A running proxy: its address and what has gone through it."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def counts(self) -> Counts:
        """What has gone through so far."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return Counts(**json.loads(self.process.stdout.readline()))


@contextmanager
def running_proxy(
    target: str, round_trip_s: float, rate: float | None = None
) -> Iterator[DelayProxy]:
    """A proxy before the http server `target` (http://host:port); it ends with the caller."""
    address = target.removeprefix("http://")
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.delay_proxy", address, str(round_trip_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield DelayProxy(f"http://127.0.0.1:{port}", process)
    finally:
        process.stdin.close()
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def _serve(host: str, port: int, round_trip_s: float) -> None:
    counts = Counts()
    async with trio.open_nursery() as nursery:
        handler = partial(_forward, host, port, round_trip_s, counts)
        listeners = await nursery.start(
            partial(trio.serve_tcp, handler, 0, host="127.0.0.1", handler_nursery=nursery)
        )
        print(listeners[0].socket.getsockname()[1], flush=True)
        async with trio.lowlevel.FdStream(os.dup(0)) as control:
            async for request in control:
                for _ in range(request.count(b"\n")):
                    print(json.dumps(asdict(counts)), flush=True)
        nursery.cancel_scope.cancel()


async def _forward(
    host: str, port: int, round_trip_s: float, counts: Counts, client: trio.SocketStream
) -> None:
    counts.connections += 1
    connected = trio.current_time() + round_trip_s
    try:
        server = await trio.open_tcp_stream(host, port)
    except OSError:
        await trio.aclose_forcefully(client)
        return
    for stream in (client, server):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sent(count: int) -> None:
        counts.sent += count

    def received(count: int) -> None:
        counts.received += count

    async with client, server, trio.open_nursery() as nursery:
        one_way = round_trip_s / 2
        nursery.start_soon(_pump, client, server, one_way, connected, sent)
        nursery.start_soon(_pump, server, client, one_way, connected, received)


async def _pump(
    source: trio.SocketStream,
    sink: trio.SocketStream,
    delay_s: float,
    not_before: float,
    count: Callable[[int], None],
) -> None:
    """Send on what `source` says, `delay_s` later; what comes early counts as of `not_before`."""
    put, take = trio.open_memory_channel[tuple[float, bytes]](_CHUNKS_ON_THE_WAY)

    async def read() -> None:
        async with put:
            while data := await _received(source):
                await put.send((max(trio.current_time(), not_before) + delay_s, data))

    async def write() -> None:
        async for due, data in take:
            await trio.sleep_until(due)
            await sink.send_all(data)
            count(len(data))
        await sink.send_eof()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        for stream in (source, sink):
            await trio.aclose_forcefully(stream)


async def _received(source: trio.SocketStream) -> bytes:
    try:
        return bytes(await source.receive_some(_CHUNK_BYTES))
    except trio.BrokenResourceError:
        return b""


if __name__ == "__main__":
    _host, _, _port = sys.argv[1].rpartition(":")
    trio.run(_serve, _host, int(_port), float(sys.argv[2]))
