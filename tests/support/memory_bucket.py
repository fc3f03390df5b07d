"""A bucket in memory to run the content on, in virtual time, with delays, faults and lost answers.

`MemoryBucket` is the bucket of the product down to the single request: its retries, conditions and
lost answers are those that users have. Only what goes over the wire is carried out here, by a
`MemoryClient`, without HTTP and without a thread.

A request is carried out even if whoever asked does not wait any more, as it is on a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import outcome
import trio
from botocore.exceptions import ClientError

from provenafs.s3.answers import CRC32, Answer, ErrorAnswer
from provenafs.s3.bucket import Bucket
from provenafs.s3.calls import S3Context
from provenafs.s3.listing import PAGE
from provenafs.s3.sender import ObjectRequest
from provenafs.s3.types import Credentials, ListPage, ObjectInfo, Range, nanoseconds
from tests.support.faultproxy import Request
from tests.support.memory_answers import CARRIED
from tests.support.memory_client import MemoryClient
from tests.support.moto_bucket import BUCKET, credentials

_T = TypeVar("_T")

_REGION = "us-east-1"
# Of each call of boto3: the method, and the query, as far as it tells requests from each other.
_CALLS = {
    "abort_multipart_upload": ("DELETE", "uploadId={UploadId}"),
    "complete_multipart_upload": ("POST", "uploadId={UploadId}"),
    "copy_object": ("PUT", ""),
    "create_multipart_upload": ("POST", "uploads"),
    "delete_objects": ("POST", "delete"),
    "get_object": ("GET", ""),
    "get_object_tagging": ("GET", "tagging"),
    "head_object": ("HEAD", ""),
    "list_objects_v2": ("GET", "list-type=2&prefix={Prefix}"),
    "upload_part_copy": ("PUT", "partNumber={PartNumber}&uploadId={UploadId}"),
}
_HEADERS = {
    **CARRIED,
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "CopySourceIfMatch": "x-amz-copy-source-if-match",
    "CopySourceRange": "x-amz-copy-source-range",
    "MetadataDirective": "x-amz-metadata-directive",
    "Range": "range",
    "Tagging": "x-amz-tagging",
    "ChecksumCRC32": CRC32,
}
_ARGUMENTS = {header: name for name, header in _HEADERS.items()}
_USER = "x-amz-meta-"


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of the server: a method of its client, and the request as HTTP shows it."""

    name: str
    arguments: Mapping[str, Any]
    request: Request


class Exchange:
    """A call with its answer to come."""

    def __init__(self, server: MemoryServer, call: Call) -> None:
        self.request = call.request
        self.closing = server.closing
        self._server = server
        self._call = call
        self._deletions = self._deleted()

    def carry_out(self) -> Any:
        """What boto3 would return. Raises ErrorAnswer."""
        headers, is_head = self.request.headers, self.request.method == "HEAD"
        if "if-none-match" in headers and self._deletions != self._deleted():
            raise ErrorAnswer(409, "ConditionalRequestConflict")  # deleted while it was under way
        try:
            return getattr(self._server.client, self._call.name)(**self._call.arguments)
        except ClientError as error:
            told: Any = error.response
            code = "" if is_head else told["Error"]["Code"]
            status = told["ResponseMetadata"]["HTTPStatusCode"]
            raise ErrorAnswer(status, code, is_head) from None

    def _deleted(self) -> int:
        return self._server.client.deletions[self._call.arguments.get("Key", "")]


# A fault answers an exchange in its own way, or raises what the client sees.
Fault = Callable[[Exchange], Awaitable[Any]]


def s3_failure(status: str, code: str = "") -> Fault:
    """Answer with an error of S3, such as "503 Slow Down"."""

    async def fault(exchange: Exchange) -> Any:
        is_head = exchange.request.method == "HEAD"
        raise ErrorAnswer(int(status[:3]), "" if is_head else code, is_head)

    return fault


def cut() -> Fault:
    """Close the connection before anything is done."""

    async def fault(exchange: Exchange) -> Any:
        raise ConnectionResetError

    return fault


def lose_answer() -> Fault:
    """Carry it out, and close the connection in place of an answer."""

    async def fault(exchange: Exchange) -> Any:
        outcome.capture(exchange.carry_out)
        raise ConnectionResetError

    return fault


def stall() -> Fault:
    """Never answer; close the connection once the server heals."""

    async def fault(exchange: Exchange) -> Any:
        await exchange.closing.wait()
        raise ConnectionResetError

    return fault


def delay(before: float, after: float = 0.0) -> Fault:
    """Take so many seconds until it is carried out, and until the answer comes then."""

    async def fault(exchange: Exchange) -> Any:
        await trio.sleep(before)
        carried_out = outcome.capture(exchange.carry_out)
        await trio.sleep(after)
        return carried_out.unwrap()

    return fault


class Hold:
    """Keeps requests back until `go_on` is set; `reached` says that one has come."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, exchange: Exchange) -> Any:
        """Hold one."""
        self.reached.set()
        await self.go_on.wait()
        return exchange.carry_out()


@dataclass(slots=True)
class _Rule:
    matches: Callable[[Request], bool]
    fault: Fault
    left: float


class MemoryServer:
    """A server with one bucket, the requests so far, and the faults to come.

    `client` is another client of it, whom no fault meets. `latency` chooses how many seconds a
    request takes until it is carried out, and its answer then.
    """

    def __init__(self, client: MemoryClient | None = None) -> None:
        """`client` of another server: this one is another way to the same bucket."""
        self.client = client or MemoryClient(BUCKET)
        self.requests: list[Request] = []
        self.latency: Callable[[Request], tuple[float, float]] | None = None
        self.closing = trio.Event()
        self._rules: list[_Rule] = []

    def fail(
        self, matches: Callable[[Request], bool], fault: Fault, times: float = float("inf")
    ) -> None:
        """From now on meet the next `times` requests that match with a fault."""
        self._rules.append(_Rule(matches, fault, times))

    def heal(self) -> None:
        """No faults any more; stalled connections are closed."""
        self._rules.clear()
        self.closing.set()
        self.closing = trio.Event()

    def count(self, matches: Callable[[Request], bool]) -> int:
        """How many of the requests so far match."""
        return sum(map(matches, self.requests))

    async def answer(self, call: Call, within: float) -> Any:
        """The answer to a call. Raises ErrorAnswer, and OSError also where it takes too long."""
        self.requests.append(call.request)
        exchange = Exchange(self, call)
        fault = self._fault(call.request)
        if fault is None:
            return exchange.carry_out()
        answers: list[outcome.Outcome[Any]] = []
        answered = trio.Event()

        async def serve() -> None:
            answers.append(await outcome.acapture(fault, exchange))
            answered.set()

        trio.lowlevel.spawn_system_task(serve)
        with trio.move_on_after(within):
            await answered.wait()
            return answers[0].unwrap()
        raise TimeoutError

    def _fault(self, request: Request) -> Fault | None:
        for rule in self._rules:
            if rule.left >= 1 and rule.matches(request):
                rule.left -= 1
                return rule.fault
        return None if self.latency is None else delay(*self.latency(request))


class _Asked(Exception):
    """Raised out of what makes a request: what it asks for."""

    def __init__(self, call: Call) -> None:
        self.call = call


class _Clients:
    """Takes the place of boto3 and of the sender: the first time around asks, then has the answer.

    What makes a request is a function that blocks until it has its answer, and makes one only. So
    it is run twice: until it asks, and again when there is an answer.
    """

    def __init__(self) -> None:
        self.answer: Any = None
        self.is_answered = False
        self.sender = self

    def call_of(self, work: Callable[[], object]) -> Call:
        """What `work` asks for."""
        self.is_answered = False
        try:
            work()
        except _Asked as asked:
            return asked.call
        raise AssertionError("a request that asks for nothing")

    def answered(self, answer: Any, work: Callable[[], _T]) -> _T:
        """What `work` makes of an answer."""
        self.answer, self.is_answered = answer, True
        return work()

    def boto(self, region: str, keys: Credentials) -> Any:
        """A client of boto3."""
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(**arguments: Any) -> Any:
            answer = self._answer(lambda: _call_of_boto(name, arguments))
            return {PAGE: _page(answer)} if name == "list_objects_v2" else answer

        return method

    def send(self, request: ObjectRequest, region: str, keys: Credentials) -> Answer:
        """As Sender.send."""
        answer = self._answer(lambda: _call_of_request(request))
        headers = {"etag": answer.get("ETag", ""), CRC32: answer.get("ChecksumCRC32", "")}
        return Answer(answer["ResponseMetadata"]["HTTPStatusCode"], headers, b"")

    def receive(self, wanted: Range, region: str, keys: Credentials, into: memoryview) -> None:
        """As Sender.receive."""
        end = wanted.start + len(into) - 1
        headers = {"range": f"bytes={wanted.start}-{end}", "if-match": wanted.etag}
        request = ObjectRequest("GET", wanted.bucket, wanted.key, headers)
        into[:] = self._answer(lambda: _call_of_request(request))["Body"].read()

    def _answer(self, call: Callable[[], Call]) -> Any:
        if not self.is_answered:
            raise _Asked(call())
        return self.answer


class _MemoryContext(S3Context):
    """What the buckets of a mount share, with a server in the same process."""

    def __init__(
        self, server: MemoryServer, io_timeout: float, note: Callable[[Request], None]
    ) -> None:
        super().__init__("http://memory", io_timeout)
        self.server = server
        self._note = note
        self.regions[BUCKET] = _REGION
        self.clients = _Clients()  # type: ignore[assignment]

    async def run(
        self, work: Callable[[Credentials], _T], keys: Credentials, limiter: trio.CapacityLimiter
    ) -> _T:
        """Make one request of the server."""
        clients: Any = self.clients
        async with limiter:
            await trio.lowlevel.checkpoint()
            call = clients.call_of(lambda: work(keys))
            self._note(call.request)
            answer = await self.server.answer(call, self.io_timeout / 3)
            return clients.answered(answer, lambda: work(keys))  # type: ignore[no-any-return]


class MemoryBucket(Bucket):
    """The bucket of a memory server.

    `sent` are its requests but for reads of ranges: method and target, and the headers.
    """

    def __init__(self, server: MemoryServer, io_timeout: float = 10.0) -> None:
        self.sent: list[tuple[str, dict[str, str]]] = []
        super().__init__(BUCKET, credentials, _MemoryContext(server, io_timeout, self._note))

    def _note(self, request: Request) -> None:
        if "range" not in request.headers:
            self.sent.append((f"{request.method} {request.target}", request.headers))


def _call_of_boto(name: str, arguments: Mapping[str, Any]) -> Call:
    method, query = _CALLS[name]
    headers = {_HEADERS[each]: str(value) for each, value in arguments.items() if each in _HEADERS}
    if "CopySource" in arguments:
        source = arguments["CopySource"]
        headers["x-amz-copy-source"] = quote(f"{source['Bucket']}/{source['Key']}")
    known = {"ChecksumAlgorithm"}
    wanted = {each: value for each, value in arguments.items() if each not in known}
    given = {each: quote(str(value), safe="/") for each, value in arguments.items()}
    target = _target(arguments["Bucket"], arguments.get("Key", ""), query.format_map(given))
    return Call(name, wanted, Request(method, target, headers))


def _call_of_request(request: ObjectRequest) -> Call:
    arguments: dict[str, Any] = {"Bucket": request.bucket}
    if request.key:
        arguments["Key"] = request.key
    headers = dict(request.headers)
    for name, value in headers.items():
        if name in _ARGUMENTS:
            arguments[_ARGUMENTS[name]] = value
    user = {n.removeprefix(_USER): text for n, text in headers.items() if n.startswith(_USER)}
    if user:
        arguments["Metadata"] = user
    if request.body is not None:
        arguments["Body"] = request.body
        headers["content-length"] = str(len(request.body))
    name = {"PUT": "put_object", "DELETE": "delete_object", "GET": "get_object"}.get(
        request.method, "head_bucket"
    )
    if request.query:
        name = "upload_part"
        arguments["UploadId"] = request.query["uploadId"]
        arguments["PartNumber"] = int(request.query["partNumber"])
    target = _target(request.bucket, request.key, urlencode(request.query))
    return Call(name, arguments, Request(request.method, target, headers))


def _target(bucket: str, key: str, query: str) -> str:
    path = quote(f"/{bucket}/{key}" if key else f"/{bucket}")
    return f"{path}?{query}" if query else path


def _page(answer: Mapping[str, Any]) -> ListPage:
    """A page as the product's own parser makes it."""
    objects = tuple(
        ObjectInfo(
            row["Key"],
            row["Size"],
            row["ETag"],
            nanoseconds(row["LastModified"]),
            None if row["StorageClass"] == "STANDARD" else row["StorageClass"],
        )
        for row in answer.get("Contents", ())
    )
    prefixes = tuple(row["Prefix"] for row in answer.get("CommonPrefixes", ()))
    return ListPage(objects, prefixes, answer.get("NextContinuationToken"))
