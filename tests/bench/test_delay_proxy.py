"""The benchmark's network: what is sent arrives, late and at no more than its rate, and counted."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.delay_proxy import running_proxy

_SIZE = 6 * 1024 * 1024
_DEADLINE_S = 30
_DATA = random.Random(1).randbytes(_SIZE)


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that sends back all it gets, and ends when its client does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(256 * 1024):
                client.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],)).start()

    server = threading.Thread(target=serve)
    server.start()
    host, port = listener.getsockname()
    yield f"http://{host}:{port}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    server.join()


def _connected(endpoint: str) -> socket.socket:
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_DEADLINE_S)


def _echoed(endpoint: str, data: bytes) -> str:
    """The digest of what comes back until the end."""
    state = hashlib.sha256()
    with _connected(endpoint) as client:

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while found := client.recv(256 * 1024):
            state.update(found)
        sender.join()
    return state.hexdigest()


@pytest.mark.parametrize(("round_trip_s", "rate"), [(0, None), (0.02, None), (0.02, 50e6)])
def test_every_byte_of_many_connections_arrives_and_is_counted(
    echo: str, round_trip_s: float, rate: float | None
) -> None:
    with (
        running_proxy(echo, round_trip_s, rate) as proxy,
        ThreadPoolExecutor(8) as threads,
    ):
        found = list(threads.map(lambda _: _echoed(proxy.endpoint, _DATA), range(8)))
        counts = proxy.counts()
    assert found == [hashlib.sha256(_DATA).hexdigest()] * 8
    assert counts.sent == counts.received == 8 * _SIZE
    assert counts.connections == 8


def test_a_new_connection_costs_two_round_trips_and_a_warm_one_one(echo: str) -> None:
    with running_proxy(echo, 0.1) as proxy:
        started = time.monotonic()
        with _connected(proxy.endpoint) as client:
            client.sendall(b"a")
            assert client.recv(1) == b"a"
            connected = time.monotonic()
            client.sendall(b"b")
            assert client.recv(1) == b"b"
            answered = time.monotonic()
    assert connected - started >= 0.2
    assert answered - connected >= 0.1


def test_a_connection_carries_no_more_than_its_rate(echo: str) -> None:
    rate = 10_000_000
    with running_proxy(echo, 0.02, rate) as proxy:
        started = time.monotonic()
        _echoed(proxy.endpoint, _DATA)
        assert time.monotonic() - started >= 0.9 * _SIZE / rate


def test_a_client_that_reads_late_gets_everything(echo: str) -> None:
    """What waits fills every buffer on the way before the first byte is taken."""
    data = _DATA * 10
    with running_proxy(echo, 0.02, 200e6) as proxy, _connected(proxy.endpoint) as client:
        sender = threading.Thread(target=lambda: client.sendall(data))
        sender.start()
        sender.join(timeout=0.5)
        left = len(data)
        while left:
            left -= len(client.recv(256 * 1024))
        sender.join()


def test_a_client_that_goes_away_leaves_the_others_alone(echo: str) -> None:
    with running_proxy(echo, 0.02) as proxy:
        with _connected(proxy.endpoint) as client:
            client.sendall(_DATA[: 1024 * 1024])
        assert _echoed(proxy.endpoint, _DATA) == hashlib.sha256(_DATA).hexdigest()


def test_a_server_that_is_gone_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
    with (
        running_proxy(f"http://{host}:{port}", 0.02) as proxy,
        _connected(proxy.endpoint) as client,
    ):
        assert client.recv(1) == b""
