"""One client's connection to the front, and the rules of each kind of request on it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from provenafs.s3.signature import signed
from provenafs.s3.types import Credentials
from provenafs.sandbox import s3_batch
from provenafs.sandbox.s3_conditions import (
    MARKER_ETAG,
    Busy,
    Condition,
    KeyLocks,
    Refusal,
    changed_names,
    deletes_many,
    names_marker,
    refused,
    source_of,
)
from provenafs.sandbox.s3_wire import (
    Answer,
    Malformed,
    Request,
    Stream,
    go_on,
    with_headers,
    without_header,
)

_log = logging.getLogger(__name__)
_MAX_LISTING = 16 * 1024 * 1024
_MAX_REFUSED_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Site:
    """State shared by all connections."""

    server: tuple[str, int]
    region: str
    owner: Credentials = field(repr=False)
    """Keys that may read every object."""
    keys: Callable[[str], Credentials | None] = field(repr=False)
    """The temporary keys of an id; None for one that is not known or has expired."""
    locks: KeyLocks = field(default_factory=KeyLocks)

    def signed(
        self, method: str, path: str, query: str, headers: dict[str, str], credentials: Credentials
    ) -> bytes:
        """The head of a request of the front's own."""
        host = f"{self.server[0]}:{self.server[1]}"
        now = datetime.now(UTC)
        sent = signed(method, host, path, query, headers, self.region, credentials, now)
        target = f"{path}?{query}" if query else path
        return with_headers(f"{method} {target} HTTP/1.1\r\n\r\n".encode(), sent)


class Connection:
    """A client's connection, served by one thread to its end."""

    def __init__(self, client: Stream, site: Site) -> None:
        self._client = client
        self._site = site
        self._server: Stream | None = None
        self._checks: Stream | None = None
        self._is_cut = False

    def serve(self) -> None:
        """Answer one request after another. Whatever happens ends this connection only."""
        try:
            with suppress(OSError, Malformed):
                while (head := self._client.head()) is not None:
                    if not self._answer(Request.parse(head)):
                        return
        except Exception:
            _log.exception("A request to S3 was given up.")
        finally:
            self.close()

    def close(self) -> None:
        """End all connections."""
        for stream in (self._client, self._server, self._checks):
            if stream is not None:
                stream.close()

    def cut(self) -> None:
        """Make `serve` return soon, whatever it waits for; from any thread."""
        self._is_cut = True
        for stream in (self._client, self._server, self._checks):
            if stream is not None:
                stream.cut()

    def _answer(self, request: Request) -> bool:
        """Whether the connection can go on afterwards."""
        refusal = refused(request)
        if refusal is not None:
            return self._refuse_unread(request, refusal)
        try:
            if deletes_many(request):
                return self._delete_many(request)
            names = changed_names(request)
            return self._change(request, names) if names else self._pass_on(request)
        except Busy:
            self._drop_server()
            self._client.send(Refusal.BUSY.answer(request, is_last=True))
            return False

    def _pass_on(self, request: Request) -> bool:
        """Anything that changes no object."""
        server = self._connected()
        if not self._begin(request, server):
            return False
        if request.length and not self._pump(request, server, request.length):
            return False
        answer = Answer.final(server)
        if answer.status == 416:
            refusal = self._refusal(request, Condition.refusal_to_read)
            if refusal is not None:  # S3 looks at the conditions first, and at the range then
                self._drop_server()
                self._client.send(refusal.answer(request, is_last=request.is_last))
                return not request.is_last
        return self._relay(request, server, answer)

    def _change(self, request: Request, names: frozenset[str]) -> bool:
        """A change, which is one step together with the check of its condition.

        The server carries it out once it has the last byte: so much is kept back until the
        condition was found to hold, and nobody else waits for a slow body.
        """
        server = self._connected()
        if request.length and not self._begin_body(request, server):
            return False
        last = self._client.read(1) if request.length else request.head
        with self._site.locks.held(names):
            refusal = self._refusal(request, Condition.refusal_to_change)
            refusal = refusal or self._refusal_of_source(request)
            if refusal is not None:
                self._drop_server()
                self._client.send(refusal.answer(request, is_last=request.is_last))
                return not request.is_last
            return self._finish(request, server, last)

    def _finish(self, request: Request, server: Stream, last: bytes) -> bool:
        try:
            server.send(last)
        except (BrokenPipeError, ConnectionResetError):
            self._relay_early(request, server, Answer.final(server))
            return False
        return self._relay(request, server, Answer.final(server))

    def _begin_body(self, request: Request, server: Stream) -> bool:
        """Send all but the last byte; False if the server has answered before that."""
        return self._begin(request, server) and self._pump(request, server, request.length - 1)

    def _begin(self, request: Request, server: Stream) -> bool:
        """Send the head; False if the server has answered without wanting the body.

        Where there is a condition the server is asked whether it wants the body: it says so only
        to who may make the request, and nobody else is to learn what the bucket holds.
        """
        asks = request.expects or (request.length and Condition.of(request.headers) is not None)
        head = request.head
        if asks and not request.expects:
            head = with_headers(head, {"Expect": "100-continue"})
        server.send(head)
        if not asks or not request.length:
            return True
        answer = Answer.read(server)
        if answer.status >= 200:
            self._relay_early(request, server, answer)
            return False
        if request.expects:
            go_on(self._client)
        return True

    def _pump(self, request: Request, server: Stream, size: int) -> bool:
        try:
            self._client.pump(server, size)
        except (BrokenPipeError, ConnectionResetError):
            # The server closes on a body that it does not want, and has said why.
            self._relay_early(request, server, Answer.final(server))
            return False
        return True

    def _relay_early(self, request: Request, server: Stream, answer: Answer) -> None:
        head = with_headers(without_header(answer.head, "connection"), {"Connection": "close"})
        answer = Answer(head, answer.status, answer.headers)
        answer.relay(server, self._client, to_head=request.method == "HEAD")

    def _relay(self, request: Request, server: Stream, answer: Answer) -> bool:
        answer = _with_marker_etag(request, answer)
        if _lists(request) and answer.status == 200:
            body = answer.body(server, _MAX_LISTING)
            if body is not None:
                self._client.send(_rewritten(answer, s3_batch.with_marker_etags(body)))
                return self._is_kept(request, answer)
        answer.relay(server, self._client, to_head=request.method == "HEAD")
        return self._is_kept(request, answer)

    def _is_kept(self, request: Request, answer: Answer) -> bool:
        return not (request.is_last or answer.is_last)

    def _refuse_unread(self, request: Request, refusal: Refusal) -> bool:
        """Refuse a request whose body has not been read yet."""
        is_read = not request.is_chunked and not request.expects
        is_read = is_read and request.length <= _MAX_REFUSED_BODY
        if is_read:
            self._client.read(request.length)
        is_last = request.is_last or not is_read
        self._client.send(refusal.answer(request, is_last=is_last))
        return not is_last

    def _delete_many(self, request: Request) -> bool:
        """DeleteObjects: keys whose condition does not hold are taken out of what is deleted."""
        if not s3_batch.has_digest(request):
            return self._refuse_unread(request, Refusal.NO_DIGEST)
        if request.length > s3_batch.MAX_BODY:
            return self._refuse_unread(request, Refusal.MALFORMED)
        if request.expects:
            go_on(self._client)
        body = self._client.read(request.length)
        batch = s3_batch.Batch.parse(body)
        if batch is None:
            self._client.send(Refusal.MALFORMED.answer(request, is_last=request.is_last))
            return not request.is_last
        with self._site.locks.held(batch.names(request.bucket)):
            failed = {
                item.key: s3_batch.Failure(refusal.code, refusal.message)
                for item in batch.items
                if (refusal := self._refusal_of(request.bucket, item)) is not None
            }
            return self._delete_rest(request, body, batch, failed)

    def _delete_rest(
        self,
        request: Request,
        body: bytes,
        batch: s3_batch.Batch,
        failed: dict[str, s3_batch.Failure],
    ) -> bool:
        rest = batch.without(failed.keys())
        if not rest.items:
            self._client.send(s3_batch.answer_of(batch, failed))
            return not request.is_last
        head = without_header(request.head, "expect")
        if failed:
            credentials = self._site.keys(s3_batch.key_id(request))
            if credentials is None:
                self._client.send(Refusal.EXPIRED.answer(request, is_last=request.is_last))
                return not request.is_last
            body = rest.body()
            headers = {"content-length": str(len(body))}
            path = quote(f"/{request.bucket}")
            head = self._site.signed("POST", path, "delete=", headers, credentials)
        server = self._connected()
        server.send(s3_batch.with_digest(head, body) + body)
        answer = Answer.final(server)
        if answer.status != 200:
            return self._relay(request, server, answer)
        result = answer.body(server, _MAX_LISTING)
        if result is None:
            raise Malformed
        if answer.is_last:  # of the server's connection: what the client is sent keeps its own
            self._drop_server()
        self._client.send(s3_batch.answer_of(batch, s3_batch.failures(result) | failed))
        return not request.is_last

    def _refusal_of(self, bucket: str, item: s3_batch.Item) -> Refusal | None:
        if item.etag is None:
            return None
        condition = Condition(item.etag.strip('"'), None)
        return condition.refusal_to_change(self._etag(bucket, item.key))

    def _refusal(
        self, request: Request, judge: Callable[[Condition, str | None], Refusal | None]
    ) -> Refusal | None:
        condition = Condition.of(request.headers)
        if condition is None:
            return None
        return judge(condition, self._etag(request.bucket, request.key))

    def _refusal_of_source(self, request: Request) -> Refusal | None:
        condition = Condition.of_source(request.headers)
        return (
            None
            if condition is None
            else condition.refusal_to_copy(self._etag(*source_of(request)))
        )

    def _etag(self, bucket: str, key: str) -> str | None:
        """The ETag of what the bucket holds now; None if that is nothing."""
        if self._checks is None or self._checks.is_stale():
            self._checks = self._opened()
        path = quote(f"/{bucket}/{key}", safe="/-._~")
        self._checks.send(self._site.signed("HEAD", path, "", {}, self._site.owner))
        answer = Answer.final(self._checks)
        if answer.is_last:
            self._checks.close()
            self._checks = None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Busy
        return answer.headers.get("etag") or (MARKER_ETAG if key.endswith("/") else "")

    def _connected(self) -> Stream:
        if self._server is not None and self._server.is_stale():
            self._drop_server()
        if self._server is None:
            self._server = self._opened()
        return self._server

    def _opened(self) -> Stream:
        stream = Stream.to(self._site.server)
        if self._is_cut:  # it came too late to be cut with the others
            stream.close()
            raise ConnectionError
        return stream

    def _drop_server(self) -> None:
        """The server must not carry out what it has of a request."""
        if self._server is not None:
            self._server.close()
            self._server = None


def _lists(request: Request) -> bool:
    return request.method == "GET" and bool(request.bucket) and not request.key


def _with_marker_etag(request: Request, answer: Answer) -> Answer:
    reads = request.method in ("GET", "HEAD", "PUT") and answer.status == 200
    if not reads or answer.headers.get("etag") or not names_marker(request):
        return answer
    head = with_headers(without_header(answer.head, "etag"), {"ETag": MARKER_ETAG})
    return Answer(head, answer.status, answer.headers)


def _rewritten(answer: Answer, body: bytes) -> bytes:
    head = without_header(answer.head, "content-length")
    return with_headers(head, {"Content-Length": str(len(body))}) + body
