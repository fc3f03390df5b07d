"""HTTP connections to the S3 server.

All requests go through `Wire`, boto3's too. So it is here that no redirect is followed, that an
error becomes an `ErrorAnswer`, that a success has the status its request asks for, and that no
body is read without a limit.

Connections are urllib3's, which knows proxies and certificates; what goes over them is written
and read without it. Of a small GET through urllib3 half the processor time goes into its layers,
and small files are read with one GET each.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from provenafs.s3.answers import Answer, ErrorAnswer, error_document, is_error_document
from provenafs.s3.errors import BadAnswer, S3Error
from provenafs.s3.response import Response

# How large, in bytes, an answer of each kind may be.
_ERROR = 64 * 1024
_RECEIPT = 64 * 1024  # of a change
_DOCUMENT = 8 * 1024 * 1024  # a page of a LIST: 1,000 keys of 1,024 bytes, escaped
WHOLE = 64 * 1024 * 1024  # an object that is read with boto3
# S3 keeps a connection alive with blanks while it copies or completes, for some minutes.
_LONGEST_CHANGE_S = 600.0
_PIECE = 64 * 1024
_HOSTS = 1024
# Sent together rather than one after the other.
_SMALL = 64 * 1024
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]

FAILURES = (urllib3.exceptions.HTTPError, HTTPException, OSError)
"""What may go wrong on the way."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A signed request; `body` is bytes or a file object, with its length among the headers."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any = None

    @property
    def success(self) -> int:
        """The one status of success."""
        if self.method == "DELETE":
            return HTTPStatus.NO_CONTENT
        return HTTPStatus.PARTIAL_CONTENT if "range" in self.headers else HTTPStatus.OK


class Wire:
    """The connections to one server, with the proxies and certificates of the environment.

    Thread-safe. A connection serves all credentials.
    """

    def __init__(
        self, endpoint_url: str | None, timeouts: tuple[float, float], connections: int
    ) -> None:
        """`endpoint_url` None means AWS; `timeouts`, in seconds, to connect and without a byte."""
        connect, self._read_timeout = timeouts
        url = endpoint_url or "https://s3.amazonaws.com"
        self._proxy = get_environ_proxies(url).get(urlsplit(url).scheme)
        certificates: Any = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._settings: dict[str, Any] = {
            "num_pools": _HOSTS,
            "maxsize": connections,
            "timeout": urllib3.Timeout(connect=connect, read=self._read_timeout),
            "socket_options": _SOCKET_OPTIONS,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": get_cert_path(certificates),
        }
        self._pools: dict[tuple[str, str], urllib3.HTTPConnectionPool] = {}

    def exchange(self, request: HttpRequest, limit: int | None = None) -> Answer:
        """Send, and receive a success of at most `limit` bytes (or what its kind may have).

        Raises ErrorAnswer, BadAnswer and FAILURES.
        """
        is_read = request.method == "GET"
        if limit is None:
            limit = _DOCUMENT if request.method in ("GET", "POST") else _RECEIPT
        with self.sent(request) as response:
            body = _body(response, limit, self._patience(request))
            if body is None:
                raise BadAnswer(f"an answer of more than {limit} bytes")
        if not is_read and is_error_document(body):
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise _error(status, response.headers, body, is_head=False)
        return Answer(response.status, response.headers, body)

    @contextmanager
    def sent(self, request: HttpRequest) -> Iterator[Response]:
        """A success, of which the body is still to be read; what is left unread is dropped.

        Raises ErrorAnswer, BadAnswer and FAILURES.
        """
        parts = urlsplit(request.url)
        pool = self._pool(parts.scheme, parts.netloc)
        connection: Any = pool._get_conn()
        is_reusable = False
        try:
            if connection.is_closed:
                _connect(pool, connection)
                connection.sock.settimeout(self._read_timeout)
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            if self._is_forwarded(parts.scheme):
                target = f"{parts.scheme}://{parts.netloc}{target}"
            extra = {} if pool.proxy_headers is None else pool.proxy_headers
            is_sent = _send(connection.sock, request, parts.netloc, target, extra)
            patience = self._patience(request)
            response = Response(connection.sock, request.method, patience)
            try:
                _check_status(response, request, patience)
                if not is_sent:  # it cannot have stored all of it
                    raise BadAnswer("a success came before all of the body was sent")
                yield response
            finally:
                is_reusable = response.close() and is_sent
        finally:
            if not is_reusable:  # bytes may be left: it serves nobody else
                connection.close()
            pool._put_conn(connection)

    def _patience(self, request: HttpRequest) -> float:
        """Seconds that an answer may take."""
        is_read = request.method in ("GET", "HEAD")
        return 3 * self._read_timeout if is_read else _LONGEST_CHANGE_S

    def _pool(self, scheme: str, netloc: str) -> urllib3.HTTPConnectionPool:
        pool = self._pools.get((scheme, netloc))
        if pool is None:
            pool = self._manager.connection_from_url(f"{scheme}://{netloc}")
            self._pools[scheme, netloc] = pool
        return pool

    @cached_property
    def _manager(self) -> urllib3.PoolManager:
        """The connection pool; S3Error if it cannot be created."""
        try:
            if self._proxy is not None:
                return _proxied(self._proxy, self._settings)
            return urllib3.PoolManager(**self._settings)
        except (ValueError, urllib3.exceptions.HTTPError):
            raise S3Error(
                "the proxy of the environment cannot be used: check http_proxy and https_proxy"
            ) from None

    def _is_forwarded(self, scheme: str) -> bool:
        """Whether a proxy reads the requests, and not only passes them on as they are."""
        return self._proxy is not None and scheme == "http"


def _proxied(proxy: str, settings: Mapping[str, Any]) -> urllib3.ProxyManager:
    url = proxy if "://" in proxy else f"http://{proxy}"
    user = urllib3.util.parse_url(url).auth
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(url, proxy_headers=headers, **settings)


def _connect(pool: urllib3.HTTPConnectionPool, connection: Any) -> None:
    if pool.proxy is not None and pool.scheme == "https":
        pool._prepare_proxy(connection)  # a tunnel, and TLS through it
    else:
        connection.connect()


def _send(
    sock: socket.socket,
    request: HttpRequest,
    host: str,
    target: str,
    proxy_headers: Mapping[str, str],
) -> bool:
    """Send a request; False if the server has closed first, and may have sent a reason."""
    fields = {"host": host, "accept-encoding": "identity", **request.headers}
    if target.startswith("http"):
        fields |= proxy_headers
    lines = [f"{request.method} {target} HTTP/1.1", *map(": ".join, fields.items())]
    if any("\n" in line or "\r" in line for line in lines):
        raise BadAnswer("a value with a line break, which no header can carry")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    try:
        _send_all(sock, head, request.body)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _send_all(sock: socket.socket, head: bytes, body: Any) -> None:
    if body is None or isinstance(body, (bytes, bytearray, memoryview)):
        if body is not None and len(body) > _SMALL:
            sock.sendall(head)
            sock.sendall(body)
        else:
            sock.sendall(head + bytes(body or b""))
        return
    sock.sendall(head)
    while piece := body.read(_PIECE):
        sock.sendall(piece)


def _check_status(response: Response, request: HttpRequest, seconds: float) -> None:
    status = response.status
    if status == request.success:
        return
    if status < HTTPStatus.MULTIPLE_CHOICES:
        raise BadAnswer(f"status {status}, which answers no {request.method}")
    body = _body(response, _ERROR, seconds)
    raise _error(status, response.headers, body, is_head=request.method == "HEAD")


def _error(
    status: int, headers: Mapping[str, str], body: bytes | None, *, is_head: bool
) -> ErrorAnswer:
    code, server_time = error_document(body)
    return ErrorAnswer(status, code, is_head, server_time, headers)


def _body(response: Response, limit: int, seconds: float) -> bytes | None:
    """All of a body; None, unread, if it is longer than `limit` bytes. OSError if it takes long."""
    deadline = time.monotonic() + seconds
    if (response.announced or 0) > limit:
        return None
    pieces: list[bytes] = []
    while piece := response.read(_PIECE):
        pieces.append(piece)
        limit -= len(piece)
        if limit < 0:
            return None
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(pieces)
