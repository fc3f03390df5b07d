"""A server that answers every connection with the next of some canned answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Scripted:
    """`requests` are the heads of those that came, in order; `answers` are those to come."""

    address: str
    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def scripted(answers: Iterable[bytes]) -> Iterator[Scripted]:
    """Serve each answer once, the last one for ever; the connection is closed after each."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Scripted(f"http://127.0.0.1:{listener.getsockname()[1]}", list(answers))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                server.requests.append(_head(connection))
                queue = server.answers
                with suppress(ConnectionError):  # the client need not want all of it
                    connection.sendall(queue.pop(0) if len(queue) > 1 else queue[0])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole HTTP answer; a header's underscores stand for hyphens."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    fields = {"Content_Length": str(len(body))} | headers
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def failure(status: str, code: str, extra: str = "") -> bytes:
    """An answer with an S3 error document, which quotes a key as AWS's do."""
    document = (
        f"<Error><Code>{code}</Code><Message>SECRET-IN-BODY</Message>"
        f"<AWSAccessKeyId>KEY-ID</AWSAccessKeyId>{extra}</Error>"
    )
    return answer(status, document.encode(), Content_Type="application/xml")


def part(body: bytes, start: int = 0, size: int = 1000) -> bytes:
    """An answer with a range of an object."""
    return answer(
        "206 Partial Content",
        body,
        ETag='"e"',
        Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT",
        Content_Range=f"bytes {start}-{start + len(body) - 1}/{size}",
    )


def _head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data
