"""A TCP proxy in a process of its own that delays bytes both ways and counts them.

What arrives is sent on one delay later. With a rate, each connection carries no more than that each
way, however much all of them carry. A new connection costs one round trip more, as a TCP handshake
over the delayed path would. Every line on its standard input is answered by a line of counts; it
ends when that input does.

Bytes wait in pipes and are spliced (splice(2)) from socket to pipe to socket: none is copied, so
that the proxy takes little of the processors that what is measured needs.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

_PIPE_BYTES = 1024 * 1024
"""What a pipe may have without CAP_SYS_RESOURCE."""
_MOST_PIECES = 256
_PIECES_IN_TURN = 4
_RATED_PIECE_S = 0.01
_CATCH_UP_S = 0.01
_RATED_BUFFER_BYTES = 256 * 1024
_BACKLOG = 128
_END_WITHIN_S = 5


@dataclass(slots=True)
class Counts:
    """Bytes of all connections so far, protocol included, seen from the client."""

    sent: int = 0
    received: int = 0
    connections: int = 0

    def add_sent(self, count: int) -> None:
        self.sent += count

    def add_received(self, count: int) -> None:
        self.received += count

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
    """A proxy before the http server `target` (http://host:port); it ends with the caller.

    `rate` is in bytes a second, of each connection and direction.
    """
    address = target.removeprefix("http://")
    limit = [] if rate is None else [str(rate)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.delay_proxy", address, str(round_trip_s), *limit],
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


@dataclass(frozen=True, slots=True)
class _Path:
    """What the network between client and server is like."""

    host: str
    port: int
    round_trip_s: float
    rate: float | None

    @property
    def piece_bytes(self) -> int:
        """The most that is taken in at once."""
        return _PIPE_BYTES if self.rate is None else int(self.rate * _RATED_PIECE_S)

    @property
    def most_pieces(self) -> int:
        """As much as a sender has unacknowledged; more would wait in a queue no router has."""
        if self.rate is None:
            return _MOST_PIECES
        return int(self.rate * self.round_trip_s) // self.piece_bytes + 1


class _Pipes:
    """Empty pipes, kept for the next piece."""

    def __init__(self) -> None:
        self._free: list[_Pipe] = []

    def take(self) -> _Pipe:
        if self._free:
            return self._free.pop()
        out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return _Pipe(out, into)

    def give_back(self, pipe: _Pipe) -> None:
        self._free.append(pipe)


@dataclass(frozen=True, slots=True)
class _Pipe:
    out: int
    into: int

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


@dataclass(slots=True)
class _Piece:
    """Bytes that arrived together and wait in a pipe of their own; none at the end."""

    pipe: _Pipe
    bytes: int
    due: float


class _Direction:
    """The bytes of one connection from one socket to the other."""

    def __init__(
        self,
        path: _Path,
        pipes: _Pipes,
        source: socket.socket,
        sink: socket.socket,
        count: Callable[[int], None],
    ) -> None:
        self._path, self._pipes, self._count = path, pipes, count
        self._source, self._sink = source, sink
        self._not_before = time.monotonic() + path.round_trip_s
        self._waiting: deque[_Piece] = deque()
        self._free_at = 0.0
        self._ended = False
        self.is_done = False

    def move(self) -> float | None:
        """Take in what there is and send what is due; when to be called again, if at a time."""
        for _ in range(_PIECES_IN_TURN):
            # In this order: what is left in the socket because too much waits here is asked for
            # again once there is room, as no event will say that it is there.
            due = self._push()
            if not self._pull():
                return due
        return time.monotonic()

    def close(self) -> None:
        """Bytes still wait in these pipes: nobody else may have them."""
        for piece in self._waiting:
            piece.pipe.close()

    def _pull(self) -> bool:
        if self._ended or len(self._waiting) >= self._path.most_pieces:
            return False
        pipe = self._pipes.take()
        try:
            count = os.splice(self._source.fileno(), pipe.into, self._path.piece_bytes)
        except OSError as error:
            self._pipes.give_back(pipe)
            if isinstance(error, BlockingIOError):
                return False
            raise
        due = max(time.monotonic(), self._not_before) + self._path.round_trip_s / 2
        self._waiting.append(_Piece(pipe, count, due))
        self._ended = count == 0
        return True

    def _push(self) -> float | None:
        while self._waiting:
            now = time.monotonic()
            piece = self._waiting[0]
            start = max(piece.due, self._free_at, now - _CATCH_UP_S)
            if start > now:
                return start
            if piece.bytes and not self._send(piece, start):
                return None
            self._pipes.give_back(self._waiting.popleft().pipe)
        if self._ended:
            self._sink.shutdown(socket.SHUT_WR)
            self.is_done = True
        return None

    def _send(self, piece: _Piece, start: float) -> bool:
        """Send a piece's bytes; whether all of them could be."""
        while piece.bytes:
            try:
                moved = os.splice(piece.pipe.out, self._sink.fileno(), piece.bytes)
            except BlockingIOError:
                return False
            piece.bytes -= moved
            self._count(moved)
            if self._path.rate is not None:
                start = self._free_at = start + moved / self._path.rate
        return True


class _Connection:
    """A client's socket and the one to the server that belongs to it."""

    def __init__(self, path: _Path, pipes: _Pipes, client: socket.socket, counts: Counts) -> None:
        self._server = socket.create_connection((path.host, path.port))
        self._client = client
        for one in self.sockets:
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._directions = (
            _Direction(path, pipes, client, self._server, counts.add_sent),
            _Direction(path, pipes, self._server, client, counts.add_received),
        )
        self.is_open = True

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        return self._client, self._server

    def move(self) -> float | None:
        """Move bytes both ways; when to be called again, if at a time."""
        try:
            dues = [one.move() for one in self._directions if not one.is_done]
        except OSError:
            self.close()
            return None
        if all(one.is_done for one in self._directions):
            self.close()
        return min((due for due in dues if due is not None), default=None)

    def close(self) -> None:
        self.is_open = False
        for one in (*self._directions, *self.sockets):
            one.close()


@dataclass(slots=True)
class _Proxy:
    """All connections, moved when their sockets are ready and when their bytes are due."""

    path: _Path
    listener: socket.socket
    counts: Counts = field(default_factory=Counts)
    _pipes: _Pipes = field(default_factory=_Pipes)
    _ready: select.epoll = field(default_factory=select.epoll)
    _connections: dict[int, _Connection] = field(default_factory=dict)
    """By the descriptors of their sockets."""
    _dues: list[tuple[float, int, _Connection]] = field(default_factory=list)

    def run(self) -> None:
        """Until the end of standard input."""
        self._ready.register(0, select.EPOLLIN)
        self._ready.register(self.listener, select.EPOLLIN)
        while True:
            timeout = max(0.0, self._dues[0][0] - time.monotonic()) if self._dues else None
            moved: set[_Connection] = set()
            for descriptor, _ in self._ready.poll(timeout):
                if descriptor == 0:
                    if not self._answer():
                        return
                elif descriptor == self.listener.fileno():
                    self._accept()
                elif descriptor in self._connections:
                    moved.add(self._connections[descriptor])
            while self._dues and self._dues[0][0] <= time.monotonic():
                moved.add(heapq.heappop(self._dues)[2])
            for connection in moved:
                self._move(connection)

    def _move(self, connection: _Connection) -> None:
        if not connection.is_open:
            return
        descriptors = [one.fileno() for one in connection.sockets]
        due = connection.move()
        if not connection.is_open:
            for descriptor in descriptors:
                del self._connections[descriptor]
        elif due is not None:
            heapq.heappush(self._dues, (due, id(connection), connection))

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        self.counts.connections += 1
        try:
            connection = _Connection(self.path, self._pipes, client, self.counts)
        except OSError:
            client.close()
            return
        for one in connection.sockets:
            self._connections[one.fileno()] = connection
            # Told once of each change: whoever is told moves until nothing goes on.
            self._ready.register(one, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def _answer(self) -> bool:
        asked = os.read(0, 4096)
        for _ in range(asked.count(b"\n")):
            print(json.dumps(asdict(self.counts)), flush=True)
        return bool(asked)


def _main(address: str, round_trip_s: str, rate: str | None = None) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, _, port = address.rpartition(":")
    path = _Path(host, int(port), float(round_trip_s), None if rate is None else float(rate))
    with socket.socket() as listener:
        if path.rate is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RATED_BUFFER_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen(_BACKLOG)
        print(listener.getsockname()[1], flush=True)
        _Proxy(path, listener).run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
