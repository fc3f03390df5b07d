"""An HTTP proxy in front of a server that notes every request and fails those it is told to.

It is transparent: hosts and signatures reach the server as the client made them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote, urlsplit

_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked; `headers` by their names in lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> str:
        """All behind the question mark."""
        return urlsplit(self.target).query

    @property
    def is_list(self) -> bool:
        """Whether it is a page of an S3 LIST."""
        return self.method == "GET" and "list-type=2" in self.query

    @property
    def is_read(self) -> bool:
        """Whether it is a GET of an S3 object."""
        return self.method == "GET" and not self.query


class _Stream:
    """One side of a connection, read by heads and bodies."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._data = b""

    def head(self) -> bytes:
        """Up to and with the empty line; nothing if the other side has closed."""
        while b"\r\n\r\n" not in self._data:
            piece = self.connection.recv(_PIECE)
            if not piece:
                return b""
            self._data += piece
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def put_back(self, data: bytes) -> None:
        """Read these bytes again."""
        self._data = data + self._data

    def body(self, headers: dict[str, str]) -> Iterator[bytes]:
        """The pieces of the body that the headers tell of, as they come."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        else:
            yield from self._exactly(int(headers.get("content-length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            yield line
            size = int(line.split(b";")[0], 16)
            yield from self._exactly(size + 2)
            if size == 0:
                return

    def _line(self) -> bytes:
        while b"\r\n" not in self._data:
            self._data += self._receive()
        line, _, self._data = self._data.partition(b"\r\n")
        return line + b"\r\n"

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._data or self._receive()
            self._data = piece[size:]
            yield piece[:size]
            size -= len(piece[:size])

    def _receive(self) -> bytes:
        piece = self.connection.recv(_PIECE)
        if not piece:
            raise ConnectionError
        return piece


@dataclass(slots=True)
class _Exchange:
    """One request with its answer to come."""

    client: _Stream
    server: _Stream
    head: bytes
    request: Request

    def forward(self) -> tuple[bytes, Iterator[bytes]]:
        """Let the server answer: the answer's head, and its body as it comes."""
        self.server.connection.sendall(self.head)
        if self.request.headers.get("expect") == "100-continue":
            self.client.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert self.server.head()
        for piece in self.client.body(self.request.headers):
            self.server.connection.sendall(piece)
        head = self.server.head()
        if not head:
            raise ConnectionError
        if self.request.method == "HEAD" or head.split(b" ")[1] in (b"204", b"304"):
            return head, iter(())
        return head, self.server.body(_headers(head))

    def gather(self) -> None:
        """Wait until the body has come."""
        self.client.put_back(b"".join(self.client.body(self.request.headers)))

    def take(self) -> None:
        """Read the whole request, which the server is not to see."""
        for _ in self.client.body(self.request.headers):
            pass


# A fault deals with an exchange; False ends the connection.
Fault = Callable[[_Exchange, threading.Event], bool]


def answer(status: str, body: bytes = b"", content_type: str = "application/xml") -> Fault:
    """Answer in the server's place."""

    def fault(exchange: _Exchange, closing: threading.Event) -> bool:
        exchange.take()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        exchange.client.connection.sendall(
            head.encode() + (b"" if exchange.request.method == "HEAD" else body)
        )
        return True

    return fault


def s3_failure(status: str, code: str) -> Fault:
    """Answer with an error document of S3."""
    return answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


def cut() -> Fault:
    """Close the connection in place of an answer."""

    def fault(exchange: _Exchange, closing: threading.Event) -> bool:
        exchange.take()
        return False

    return fault


def lose_answer() -> Fault:
    """Let the server do it, and close the connection in place of its answer."""

    def fault(exchange: _Exchange, closing: threading.Event) -> bool:
        _, body = exchange.forward()
        for _ in body:
            pass
        return False

    return fault


def only_whole() -> Fault:
    """Pass a request on once all of it has come, and answer; one that is cut never reaches moto.

    S3 rejects a body that is shorter than announced; moto stores it.
    """

    def fault(exchange: _Exchange, closing: threading.Event) -> bool:
        exchange.gather()
        head, body = exchange.forward()
        exchange.client.connection.sendall(head + b"".join(body))
        return True

    return fault


def truncate(size: int) -> Fault:
    """Close the connection after `size` bytes of the body."""

    def fault(exchange: _Exchange, closing: threading.Event) -> bool:
        head, body = exchange.forward()
        whole = b"".join(body)
        exchange.client.connection.sendall(head + whole[:size])
        return False

    return fault


def stall() -> Fault:
    """Never answer."""

    def fault(exchange: _Exchange, closing: threading.Event) -> bool:
        closing.wait()
        return False

    return fault


class Hold:
    """Keeps requests back until `go_on` is set; `reached` says that one has come."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, exchange: _Exchange, closing: threading.Event) -> bool:
        """Hold one."""
        self.reached.set()
        while not self.go_on.wait(0.01):
            if closing.is_set():
                return False
        head, body = exchange.forward()
        exchange.client.connection.sendall(head + b"".join(body))
        return True


@dataclass(slots=True)
class _Rule:
    matches: Callable[[Request], bool]
    fault: Fault
    left: float


@dataclass
class FaultProxy:
    """A running proxy: its address, the requests so far, and the faults to come."""

    address: str
    requests: list[Request] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: threading.Event = field(default_factory=threading.Event)

    def fail(
        self, matches: Callable[[Request], bool], fault: Fault, times: float = float("inf")
    ) -> None:
        """From now on meet the next `times` requests that match with a fault."""
        with self._lock:
            self._rules.append(_Rule(matches, fault, times))

    def heal(self) -> None:
        """No faults any more; stalled connections are closed."""
        with self._lock:
            self._rules.clear()
        self._closing.set()
        self._closing = threading.Event()

    def count(self, matches: Callable[[Request], bool]) -> int:
        """How many of the requests so far match."""
        return sum(1 for request in list(self.requests) if matches(request))

    def _fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.left >= 1 and rule.matches(request):
                    rule.left -= 1
                    return rule.fault
        return None

    def _serve(self, connection: socket.socket, target: tuple[str, int]) -> None:
        with suppress(OSError), connection, socket.create_connection(target) as upstream:
            client, server = _Stream(connection), _Stream(upstream)
            while head := client.head():
                method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
                request = Request(method, path, _headers(head))
                exchange = _Exchange(client, server, head, request)
                fault = self._fault(request)
                if fault is not None:
                    if not fault(exchange, self._closing):
                        return
                    continue
                answer_head, body = exchange.forward()
                connection.sendall(answer_head)
                for piece in body:
                    connection.sendall(piece)


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A proxy in front of `target`, such as http://127.0.0.1:9000, on a port of its own."""
    address = urlsplit(target)
    assert address.hostname is not None and address.port is not None
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = FaultProxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
    serve = partial(proxy._serve, target=(address.hostname, address.port))
    open_connections: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.heal()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def is_delete(request: Request) -> bool:
    """Whether a request deletes one object."""
    return request.method == "DELETE" and not request.query
