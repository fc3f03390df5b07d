"""What goes over the wire: bodies with their limits, and heads that are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import trio

from provenafs.s3 import errors
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.metadata import Metadata
from provenafs.s3.pages import Pages
from provenafs.s3.response import Response
from provenafs.s3.types import Credentials, CredentialScope
from provenafs.s3.wire import HttpRequest, Wire
from provenafs.s3.writing import ObjectWriter
from tests.support.scripted_s3 import answer, failure, part, scripted

_MIB = 1024 * 1024
_ENDLESS = 64 * _MIB


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr("provenafs.s3.calls._FIRST_PAUSE_S", 0.0)


async def _keys(access: CredentialScope, rejected: Credentials | None) -> Credentials:
    return Credentials("KEY", "s", "t", datetime.now(UTC) + timedelta(hours=1))


def _bucket(address: str, io_timeout: float = 10) -> Bucket:
    service = S3Context(address, io_timeout)
    service.regions["b"] = "us-east-1"
    return Bucket("b", _keys, service)


@contextmanager
def _connected(timeout: float) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection; the first gives up after so many seconds without a byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
        with here, there:
            here.settimeout(timeout)
            yield here, there


@contextmanager
def _pouring(head: bytes, piece: bytes, pause: float = 0.0) -> Iterator[tuple[str, list[int]]]:
    """A server that answers with a head and then with pieces, as if for ever; counts its bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    sent: list[int] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(head)
                    sent.append(0)
                    while sent[-1] < _ENDLESS:
                        connection.sendall(piece)
                        sent[-1] += len(piece)
                        time.sleep(pause)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


_CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "most"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 24 * _MIB),
        (b"HTTP/1.1 200 OK\r\n\r\n", 24 * _MIB),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n", 16 * _MIB),
        (b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n", 16 * _MIB),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 400000000\r\n\r\n", 16 * _MIB),
    ],
)
async def test_a_body_without_end_is_given_up(head: bytes, most: int) -> None:
    with _pouring(head, _CHUNK) as (address, sent), pytest.raises(errors.S3Error):
        await _bucket(address).list("p/")
    assert len(sent) <= 3
    # What the limit lets in, and what the buffers of both sides take.
    assert max(sent) < most


async def test_an_object_is_not_read_beyond_the_range() -> None:
    head = b'HTTP/1.1 206 x\r\nETag: "e"\r\nContent-Range: bytes 0-9/10\r\n\r\n'
    with _pouring(head, _CHUNK) as (address, sent), pytest.raises(errors.BadAnswer):
        await _bucket(address).read_range("k", 0, 10, '"e"', size=10)
    assert max(sent) < 16 * _MIB


async def test_a_put_is_not_answered_with_megabytes() -> None:
    head = b'HTTP/1.1 200 OK\r\nETag: "e"\r\n\r\n'
    with _pouring(head, _CHUNK) as (address, _), pytest.raises(errors.BadAnswer):
        await ObjectWriter(_bucket(address)).put("k", b"x", None, Metadata("id"))


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X: y\r\n", b"x" * 4096])
async def test_a_head_without_end_is_given_up(piece: bytes) -> None:
    with (
        _pouring(b"HTTP/1.1 100 Continue\r\n", piece) as (address, sent),
        pytest.raises(errors.Unavailable),
    ):
        await _bucket(address).read_range("k", 0, 10, '"e"', size=10, retry=False)
    assert max(sent) < 16 * _MIB


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 206 x\r\nno header\r\n\r\n",
        b"HTTP/1.1 206 x\r\n folded: 1\r\n\r\n",
        b"HTTP/1.1 206 x\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 206 x\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n0123456789",
        b"HTTP/1.1 206 x\r\nTransfer-Encoding: gzip\r\n\r\n0123456789",
        part(b"0123456789").replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),
        part(b"5\r\n0123456\r\n0\r\n\r\n").replace(
            b"Content-Length: 17", b"Transfer-Encoding: chunked"
        ),
    ],
)
async def test_what_is_no_http_is_an_outage(reply: bytes) -> None:
    with scripted([reply]) as server, pytest.raises(errors.Unavailable):
        await _bucket(server.address).read_range("k", 0, 10, '"e"', size=1000, retry=False)


def test_a_line_break_never_gets_into_a_header() -> None:
    with scripted([answer("200 OK")]) as server:
        wire = Wire(server.address, (5, 5), 4)
        for headers in ({"if-match": "e\r\nx: y"}, {"if-match\n": "e"}):
            with pytest.raises(errors.BadAnswer):
                wire.exchange(HttpRequest("GET", f"{server.address}/b/k", headers))
    assert not any(server.requests)


async def test_a_connection_is_used_again_unless_bytes_may_be_left() -> None:
    accepted = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal accepted
        accepted += 1
        while b"\r\n\r\n" in (await stream.receive_some()):
            keep = part(b"0123456789").replace(b"Connection: close\r\n", b"")
            error = failure("404 Not Found", "NoSuchKey").replace(b"Connection: close\r\n", b"")
            await stream.send_all(error if accepted == 2 else keep)

    async with trio.open_nursery() as nursery:
        listen = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(listen)
        bucket = _bucket(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
        for _ in range(3):
            await bucket.read_range("k", 0, 10, '"e"', size=1000)
        assert accepted == 1
        with pytest.raises(errors.S3Error):  # ten bytes come where five were asked for
            await bucket.read_range("k", 0, 5, '"e"', size=1000, retry=False)
        for _ in range(2):
            with pytest.raises(errors.NoSuchKey):
                await bucket.read_range("k", 0, 10, '"e"', size=1000)
        assert accepted == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "reply",
    [
        part(b"0123456789") + part(b"abcdefghij"),
        b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\nbytes",
    ],
)
def test_a_connection_with_bytes_behind_an_answer_serves_nobody_else(reply: bytes) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(reply.replace(b"Connection: close\r\n", b""))
        response = Response(here, "GET", 5)
        while response.read(100):
            pass
        assert not response.close()


def test_a_long_body_that_comes_slowly_is_read_to_its_end() -> None:
    """Many bytes are waited for at once; where few come, fewer have to do."""
    body = bytes(range(256)) * 1024

    def trickle(there: socket.socket) -> None:
        there.sendall(b"HTTP/1.1 206 x\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 64 * 1024):
            time.sleep(0.15)
            there.sendall(body[start : start + 64 * 1024])

    with _connected(timeout=0.2) as (here, there):
        thread = threading.Thread(target=trickle, args=(there,))
        thread.start()
        response = Response(here, "GET", 5)
        received = memoryview(bytearray(len(body)))
        count = 0
        while piece := response.readinto(received[count:]):
            count += piece
        assert response.close()
        thread.join()
        there.sendall(b"HTTP/1.1 204 x\r\n\r\n")
        assert Response(here, "DELETE", 5).status == 204
    assert bytes(received) == body


def test_a_long_body_that_stalls_is_given_up_in_time() -> None:
    with _connected(timeout=0.2) as (here, there):
        there.sendall(b"HTTP/1.1 206 x\r\nContent-Length: 1000000\r\n\r\n")
        response = Response(here, "GET", 5)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            response.readinto(memoryview(bytearray(1_000_000)))
        assert time.monotonic() - began < 4


def test_bytes_behind_an_answer_are_seen_through_encryption() -> None:
    class Decrypted(socket.socket):
        def pending(self) -> int:
            return 5  # of a record whose beginning was read

    here, there = socket.socketpair()
    with Decrypted(fileno=here.detach()) as decrypted, there:
        there.sendall(b"HTTP/1.1 204 x\r\n\r\n")
        assert not Response(decrypted, "DELETE", 5).close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 206 x\r\nX: ",
        b'HTTP/1.1 206 x\r\nETag: "e"\r\nContent-Range: bytes 0-9999/10000\r\n\r\n',
        b"HTTP/1.1 404 x\r\nContent-Length: 9999\r\n\r\n",
    ],
)
async def test_an_answer_byte_by_byte_is_given_up(head: bytes) -> None:
    with _pouring(head, b"x", 0.1) as (address, _), pytest.raises(errors.Unavailable):
        with trio.fail_after(10):
            await _bucket(address, io_timeout=1).read_range("k", 0, 10_000, '"e"', size=10_000)


async def test_a_body_that_was_not_sent_is_not_stored() -> None:
    data = bytes(32 * _MIB)  # the server closes without having read it
    with scripted([answer("200 OK", ETag='"e"')]) as server, pytest.raises(errors.Unavailable):
        await ObjectWriter(_bucket(server.address)).put("k", data, None, Metadata("id"))


async def test_requests_go_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with scripted([part(b"0123456789")]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address.replace("://", "://user:pass@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        await _bucket("http://s3.example").read_range("k", 0, 10, '"e"', size=1000)
    head = proxy.requests[0]
    assert head.startswith(b"GET http://s3.example/b/k HTTP/1.1\r\nhost: s3.example\r\n")
    assert b"proxy-authorization: Basic dXNlcjpwYXNz" in head


async def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://user:pass@127.0.0.1:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(errors.S3Error, match="proxy of the environment") as raised:
        await _bucket("http://s3.example").read_range("k", 0, 10, '"e"', size=1000)
    assert "pass" not in str(raised.value)


async def test_https_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted([answer("502 Bad Gateway")]) as proxy:
        monkeypatch.setenv("https_proxy", proxy.address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(errors.Unavailable):
            await _bucket("https://s3.example").read_range(
                "k", 0, 10, '"e"', size=1000, retry=False
            )
    assert proxy.requests[0].startswith(b"CONNECT s3.example:443 HTTP/1.")
    assert b"KEY" not in proxy.requests[0]


async def test_a_redirect_of_something_in_between_tells_no_region() -> None:
    gateway = answer("307 Temporary Redirect", Location="https://login.example/")
    headers: Any = {"x-amz-bucket-region": "eu-west-1"}
    told = answer("403 Forbidden", **headers)
    with scripted([gateway, told, part(b"0123456789")]) as server:
        bucket = Bucket("b", _keys, S3Context(server.address, 10))
        with pytest.raises(errors.S3Error, match="another address"):
            await bucket.read_range("k", 0, 10, '"e"', size=1000)
        await bucket.read_range("k", 0, 10, '"e"', size=1000)
    assert b"/eu-west-1/s3/" in server.requests[-1]


# LISTs that never end


def _page(names: list[str], token: str = "t") -> bytes:
    rows = "".join(
        f"<Contents><Key>p/{name}</Key><LastModified>2015-10-21T07:28:00Z</LastModified>"
        f'<ETag>"e"</ETag><Size>1</Size></Contents>'
        for name in names
    )
    body = (
        f"<ListBucketResult><IsTruncated>true</IsTruncated>"
        f"<NextContinuationToken>{token}</NextContinuationToken>{rows}</ListBucketResult>"
    )
    return answer("200 OK", body.encode())


@pytest.mark.parametrize("cycle", [[["a"]], [[]], [["a"], ["b"], ["c"]], [["a", "b"], []]])
async def test_pages_without_anything_new_end_in_an_error(cycle: list[list[str]]) -> None:
    pages = [_page(names, f"t{number}") for number, names in enumerate(cycle)]
    with scripted(pages * 200) as server:
        following = Pages(_bucket(server.address), "p/")
        with pytest.raises(errors.S3Error, match="but show nothing new"):
            while len(server.requests) < 150:
                await following.next()


async def test_some_empty_pages_are_passed_over() -> None:
    last = _page(["z"]).replace(b">true<", b">false<").replace(
        b"<NextContinuationToken>t</NextContinuationToken>", b""
    )  # fmt: skip
    body = last.partition(b"\r\n\r\n")[2]
    pages = [_page(["a"]), *[_page([])] * 60, _page(["b"]), *[_page([])] * 60]
    with scripted([*pages, answer("200 OK", body)]) as server:
        following = Pages(_bucket(server.address), "p/")
        found: list[str] = []
        while (page := await following.next()) is not None:
            found += [item.key for item in page.objects]
    assert found == ["p/a", "p/b", "p/z"]


async def test_keys_that_were_not_asked_for_are_left_out() -> None:
    names = ["a", "b/c", "d/../e", "f"]
    prefixes = "".join(
        f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
        for name in ("p/", "p/g/", "p/h/i/", "q/", "p/j")
    )
    body = _page(names).partition(b"\r\n\r\n")[2]
    body = body.replace(b"</ListBucketResult>", f"{prefixes}</ListBucketResult>".encode())
    with scripted([answer("200 OK", body)]) as server:
        page = await _bucket(server.address).list("p/")
        deep = await _bucket(server.address).list("p/", delimiter="")
    assert [item.key for item in page.objects] == ["p/a", "p/f"]
    assert page.prefixes == ("p/g/",)
    assert len(page.left_out) == 6
    assert [item.key for item in deep.objects] == [f"p/{name}" for name in names]


async def test_a_page_of_another_listing_is_no_empty_one() -> None:
    wanted, other = (_page(["a"]).replace(b"p/a", key) for key in (b"p/a", b"q/a"))
    with scripted([other, wanted, other]) as server:
        bucket = _bucket(server.address)
        assert [item.key for item in (await bucket.list("p/")).objects] == ["p/a"]
        with pytest.raises(errors.BadAnswer):
            await bucket.list("p/")
