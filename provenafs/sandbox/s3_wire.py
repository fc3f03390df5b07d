"""HTTP/1.1 between a client and the S3 server: heads are parsed, bodies go through untouched."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

SILENCE_S = 120
"""How long a socket may neither take nor give a byte."""

_MAX_HEAD = 64 * 1024
_PIECE = 256 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS = (204, 304)


class Malformed(Exception):
    """Not HTTP/1.1 as S3 accepts it."""


class Stream:
    """One end of an exchange: a blocking socket, and what was read beyond the last head.

    Every method raises OSError when the connection is lost or silent for too long.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            # Not Python's timeout, which polls before every call.
            connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", SILENCE_S, 0))
        self._socket = connection
        self._ahead = b""

    @classmethod
    def to(cls, address: tuple[str, int]) -> Stream:
        """A new connection to a server."""
        return cls(socket.create_connection(address, SILENCE_S))

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def cut(self) -> None:
        """Make every call of another thread on this end return."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def is_stale(self) -> bool:
        """Whether the other end has closed, or has said what nobody asked for."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def head(self) -> bytes | None:
        """The next head with its empty line; None at the end of the connection."""
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            if len(self._ahead) > _MAX_HEAD:
                raise Malformed
            piece = self._socket.recv(_MAX_HEAD)
            if not piece:
                return None
            self._ahead += piece
        return self._taken(end + 4)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        pieces = [self._taken(size)]
        missing = size - len(pieces[0])
        while missing:
            pieces.append(self._received(missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def line(self) -> bytes:
        """The next line with its end."""
        while (end := self._ahead.find(b"\r\n")) < 0:
            if len(self._ahead) > _MAX_HEAD:
                raise Malformed
            self._ahead += self._received(_MAX_HEAD)
        return self._taken(end + 2)

    def pump(self, target: Stream, size: int) -> None:
        """Send the next `size` bytes on to `target`.

        Through one buffer: splice, without a copy here, takes as much processor time on loopback.
        """
        ahead = self._taken(size)
        if ahead:
            target.send(ahead)
        left = size - len(ahead)
        room = memoryview(bytearray(min(left, _PIECE)))
        while left:
            received = self._socket.recv_into(room, min(left, _PIECE))
            if not received:
                raise ConnectionError
            target._socket.sendall(room[:received])
            left -= received

    def pump_chunks(self, target: Stream) -> None:
        """Send a body of chunks on to `target`, with its trailer."""
        while True:
            line = self.line()
            target.send(line)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError as error:
                raise Malformed from error
            if not size:
                break
            self.pump(target, size + 2)
        while line != b"\r\n":
            line = self.line()
            target.send(line)

    def _taken(self, size: int) -> bytes:
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

    def _received(self, size: int) -> bytes:
        piece = self._socket.recv(min(size, _PIECE))
        if not piece:
            raise ConnectionError
        return piece


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; the names of its headers are in lower case."""

    head: bytes
    method: str
    target: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, head: bytes) -> Request:
        """Raises Malformed, also for a body of unknown length."""
        try:
            line, headers = _parsed(head)
            method, target, _ = line.split(" ")
        except ValueError as error:
            raise Malformed from error
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        request = cls(
            *(head, method, target, bucket, key),
            dict(parse_qsl(query, keep_blank_values=True)),
            headers,
        )
        if not headers.get("content-length", "0").isdecimal():
            raise Malformed
        return request

    @property
    def length(self) -> int:
        """The size of the body in bytes."""
        return int(self.headers.get("content-length", 0))

    @property
    def is_chunked(self) -> bool:
        """Whether the body tells its size as it goes."""
        return "transfer-encoding" in self.headers

    @property
    def expects(self) -> bool:
        """Whether the client sends the body only once it is told to go on."""
        return self.headers.get("expect", "").lower() == "100-continue"

    @property
    def is_last(self) -> bool:
        """Whether the client wants the connection to end with this."""
        return _ends(self.head.partition(b"\r\n")[0].endswith(b"HTTP/1.0"), self.headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer; the names of its headers are in lower case."""

    head: bytes
    status: int
    headers: Mapping[str, str]

    @classmethod
    def read(cls, server: Stream) -> Answer:
        """The next answer, be it an interim one."""
        head = server.head()
        if head is None:
            raise ConnectionError
        try:
            line, headers = _parsed(head)
            return cls(head, int(line.split(" ")[1]), headers)
        except (ValueError, IndexError) as error:
            raise Malformed from error

    @classmethod
    def final(cls, server: Stream) -> Answer:
        """The next answer that is not an interim one."""
        while (answer := cls.read(server)).status < 200:
            pass
        return answer

    @property
    def is_last(self) -> bool:
        """Whether the server ends the connection with this."""
        return _ends(self.head.startswith(b"HTTP/1.0"), self.headers)

    def relay(self, server: Stream, client: Stream, *, to_head: bool) -> None:
        """Send the answer on, and its body as it comes; `to_head` if HEAD was the question."""
        client.send(self.head)
        if to_head or self.status in _BODILESS:
            return
        if "content-length" in self.headers:
            server.pump(client, int(self.headers["content-length"]))
        elif "transfer-encoding" in self.headers:
            server.pump_chunks(client)
        else:
            raise Malformed

    def body(self, server: Stream, limit: int) -> bytes | None:
        """The whole body; None, and nothing is read, if it may be above `limit` bytes."""
        size = int(self.headers.get("content-length", limit + 1))
        return server.read(size) if size <= limit else None


def with_headers(head: bytes, headers: Mapping[str, str]) -> bytes:
    """A head with more headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head[:-2] + lines.encode("latin-1") + b"\r\n"


def without_header(head: bytes, name: str) -> bytes:
    """A head without a header, which is named in lower case."""
    unwanted = name.encode() + b":"
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(unwanted))


def go_on(client: Stream) -> None:
    """Let a client send the body that it waits with."""
    client.send(_CONTINUE)


def _ends(is_old: bool, headers: Mapping[str, str]) -> bool:
    return is_old or headers.get("connection", "").lower() == "close"


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    line, *lines = head[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return line, {name.lower(): value.strip() for name, _, value in pairs}
