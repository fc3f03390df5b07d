"""Parses HTTP/1.1 responses of an S3 server (RFC 9112).

http.client reads the head of an answer with a parser for e-mail, which takes a third of the
processor time of a small GET, and waits for ever on a server that never comes to the point.
"""

from __future__ import annotations

import io
import re
import socket
import time
from http import HTTPStatus
from http.client import HTTPException

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_LONGEST_LINE = 64 * 1024
_MOST_HEADERS = 100
# Bytes; what brings less in all the time that it has makes no progress.
_PROGRESS = 16 * 1024
# Of a long body so many bytes are waited for at once: to be woken for each packet takes more
# processor time than to copy it.
_MANY = 256 * 1024
_FEW = 64 * 1024
_MOST_INTERIM = 8  # answers such as 100 Continue before the one that counts
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Response:
    """An answer whose head has come: `status`, and `headers` by their names in lower case.

    A header that came twice is joined by a comma. Every method may raise HTTPException, where the
    server does not speak HTTP or cuts the body, and OSError.
    """

    def __init__(self, sock: socket.socket, method: str, patience: float) -> None:
        """Read the head of the answer to a request of this method.

        Within `patience` seconds it must make progress, or come to its end.
        """
        self._source = _Source(sock, patience)
        self._file = io.BufferedReader(self._source)
        is_modern = self._head()
        self._is_chunked = False
        self._left: int | None = 0  # of the body, or of a chunk of it; None up to the end
        if method != "HEAD" and self.status not in _BODILESS:
            self._frame()
        wish = self.headers.get("connection", "").lower()
        self._stays_open = is_modern and "close" not in wish and self._left is not None

    def close(self) -> bool:
        """Let go of the socket; whether it may carry another request.

        That is so if the body was read to its end and no byte has followed it, which would be
        taken for the answer to the next.
        """
        may_stay = self._stays_open and self._left == 0 and not self._is_chunked
        may_stay = may_stay and not self._source.ends_here() and not self._file.peek(1)
        self._file.close()
        return may_stay

    @property
    def announced(self) -> int | None:
        """How many bytes of the body are still to come, where that is known."""
        return None if self._is_chunked else self._left

    def readinto(self, view: memoryview) -> int:
        """Fill a view as far as a read does; 0 at the end of the body."""
        if self._left == 0 and not self._next_chunk():
            return 0
        if self._left is not None:
            view = view[: self._left]
        return self._took(self._file.readinto(view))

    def read(self, size: int) -> bytes:
        """At most so many bytes, as soon as there are any; none at the end of the body."""
        if self._left == 0 and not self._next_chunk():
            return b""
        if self._left is not None:
            size = min(size, self._left)
        piece = self._file.read1(size)
        self._took(len(piece))
        return piece

    def _took(self, count: int) -> int:
        if self._left is not None:
            if not count:
                raise HTTPException("a body that was cut")
            self._left -= count
            if not self._left and self._is_chunked and self._line().strip():
                raise HTTPException("a chunk that is longer than it says")
        return count

    def _next_chunk(self) -> bool:
        """Whether the body goes on."""
        if not self._is_chunked:
            return False
        size = _CHUNK_SIZE.fullmatch(self._line())
        if size is None:
            raise HTTPException("a chunk without a size")
        self._left = int(size[1], 16)
        if not self._left:
            self._fields()
            self._is_chunked = False
        return bool(self._left)

    def _head(self) -> bool:
        """Read the head; returns whether connections stay open with this server."""
        for _ in range(_MOST_INTERIM):
            is_modern, self.status = self._status_line()
            self.headers = self._fields()
            if self.status >= HTTPStatus.OK:
                return is_modern
        raise HTTPException("no end of interim answers")

    def _frame(self) -> None:
        """Find out where the body ends."""
        encoding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if encoding is not None:
            if encoding.lower() != "chunked":
                raise HTTPException("an encoding that was not asked for")
            self._is_chunked = True
        elif length is None:
            self._left = None
        elif _LENGTH.fullmatch(length):
            self._left = int(length)
        else:
            raise HTTPException("a length that is not a number")

    def _status_line(self) -> tuple[bool, int]:
        found = _STATUS_LINE.fullmatch(self._line())
        if found is None:
            raise HTTPException("no status line")
        return found[1] == b"1", int(found[2])

    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if line in (b"\r\n", b"\n"):
                return fields
            name, colon, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip()
            if not colon or name != name.strip():
                raise HTTPException("a line that is not a header")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        raise HTTPException("no end of headers")

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise HTTPException("a line that was cut" if line else "the connection was closed")
        return line


class _Source(io.RawIOBase):
    """Reads from a socket, which stays open when this is closed.

    A server that sends byte by byte, each in time, would be read for ever.
    """

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._sock = sock
        self._patience = patience
        self._until = time.monotonic() + patience
        self._came = 0  # bytes, since the deadline was extended
        self._is_over = False
        # TLS looks into what has come before it says that there is anything.
        self._may_wait_for_many = type(sock) is socket.socket
        self._waits_for = 1  # bytes

    def readable(self) -> bool:
        return True

    def readinto(self, view: memoryview) -> int:  # type: ignore[override]
        if self._is_over:
            return 0
        is_long = self._may_wait_for_many and len(view) >= _FEW
        self._wait_for(min(len(view), _MANY) if is_long else 1)
        count = self._receive(view)
        self._came += count
        now = time.monotonic()
        if now > self._until:
            if self._came < _PROGRESS:
                raise TimeoutError
            self._until, self._came = now + self._patience, 0
        return count

    def _receive(self, view: memoryview) -> int:
        try:
            return self._sock.recv_into(view)
        except TimeoutError:
            if self._waits_for == 1:
                raise
        # Fewer may have come than were waited for.
        self._may_wait_for_many = False
        timeout = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            return self._sock.recv_into(view)
        except BlockingIOError:
            raise TimeoutError from None
        finally:
            self._sock.settimeout(timeout)

    def _wait_for(self, count: int) -> None:
        """Be woken only once so many bytes have come."""
        if count != self._waits_for:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._waits_for = count

    def ends_here(self) -> bool:
        """Read no more; whether the socket holds bytes decrypted already, which no poll shows."""
        self._is_over = True
        self._wait_for(1)
        pending = getattr(self._sock, "pending", None)
        return pending is not None and pending() > 0
