"""A real HTTP server on loopback that answers as told: badly, slowly, or not at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]
    token: str | None
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class Answer:
    """What to answer. `cut` closes the connection in the middle of the body; `stall` never
    answers; `endless` sends the body again and again, until the other side has had enough."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    stall: bool = False
    endless: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


CUT = Answer(body={"status": "x" * 1000}, cut=True)
STALL = Answer(stall=True)
Reaction = Answer | Callable[[Seen], Answer]


class Loopback:
    """The server. The last answer given for a path goes on being given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.ended = threading.Event()
        self._reactions: dict[str, list[Reaction]] = {}
        self._lock = threading.Lock()

    def on(self, path: str, *reactions: Reaction) -> None:
        """Answer requests for `path` with these, one after the other."""
        self._reactions[path] = list(reactions)

    def count(self, path: str) -> int:
        return sum(seen.path == path for seen in self.seen)

    def answer(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            reactions = self._reactions.get(seen.path)
            if not reactions:
                return Answer(404, {"detail": "Not Found"})
            reaction = reactions.pop(0) if len(reactions) > 1 else reactions[0]
        return reaction if isinstance(reaction, Answer) else reaction(seen)


@contextmanager
def loopback_server() -> Iterator[Loopback]:
    """A server for the time of a test."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who has enough hangs up
    loopback = Loopback(f"http://127.0.0.1:{server.server_port}")
    server.loopback = loopback  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield loopback
    finally:
        loopback.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        loopback: Loopback = self.server.loopback  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            token if scheme == "Bearer" else None,
            body,
        )
        answer = loopback.answer(seen)
        if answer.stall:
            loopback.ended.wait()
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.endless:
            self._send_for_ever(answer.content)
            return
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(
            answer.content[: len(answer.content) // 2] if answer.cut else answer.content
        )
        self.close_connection = answer.cut

    def _send_for_ever(self, piece: bytes) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while not self.server.loopback.ended.is_set():  # type: ignore[attr-defined]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Quiet."""
