"""What the front adds to the gateway: conditions and other answers as AWS gives them."""

from __future__ import annotations

import itertools
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from provenafs.s3.types import Credentials
from provenafs.sandbox import s3_front
from provenafs.sandbox.gateway import BUCKET, REGION, Gateway
from provenafs.sandbox.s3_exchange import Site
from tests.support.faultproxy import FaultProxy, Request, fault_proxy, stall
from tests.support.fronts import client_of, client_with_bucket, front_over
from tests.support.running_services import KEYS, RunningServices
from tests.support.s3_steps import (
    CHANGES,
    WRITES,
    WRONG,
    assert_if_match_holds,
    body_of,
    changed_by_delete,
    changed_by_empty_put,
    changed_by_put,
    delete_many,
    outcome,
    put,
)

NOTHING = '"d41d8cd98f00b204e9800998ecf8427e"'
_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3(services: RunningServices) -> Any:
    return client_of(services.s3_endpoint)


@pytest.fixture
def key() -> str:
    """A key that nobody else uses; there is no object of it yet."""
    return f"front/{next(_numbers)}.txt"


@pytest.mark.parametrize("change", CHANGES)
def test_if_match_lets_the_object_that_was_seen_be_changed(s3: Any, key: str, change: Any) -> None:
    assert_if_match_holds(s3, key, change)


@pytest.mark.parametrize("change", WRITES)
def test_if_none_match_lets_only_a_new_object_be_written(s3: Any, key: str, change: Any) -> None:
    assert change(s3, key, IfNoneMatch="*") == 200
    put(s3, key)
    assert change(s3, key, IfNoneMatch="*") == 412
    assert body_of(s3, key) == b"old"


@pytest.mark.parametrize(
    "conditions", [{"IfNoneMatch": WRONG}, {"IfNoneMatch": "*", "IfMatch": WRONG}]
)
def test_conditions_that_aws_does_not_know_are_refused(
    s3: Any, key: str, conditions: dict[str, str]
) -> None:
    assert changed_by_put(s3, key, **conditions) == 501
    assert body_of(s3, key) is None


def test_any_object_can_be_what_is_deleted(s3: Any, key: str) -> None:
    put(s3, key)
    assert changed_by_delete(s3, key, IfMatch="*") == 204
    assert changed_by_delete(s3, key, IfMatch="*") == 404
    assert changed_by_delete(s3, key) == 204


def test_a_copy_has_conditions_on_both_ends(s3: Any, key: str) -> None:
    etag, source = put(s3, key, b"new"), {"Bucket": BUCKET, "Key": key}
    target = f"{key}.copy"
    put(s3, target)
    for conditions in (
        {"CopySourceIfMatch": WRONG},
        {"CopySourceIfNoneMatch": etag},
        {"CopySourceIfMatch": etag, "IfNoneMatch": "*"},
        {"CopySourceIfMatch": etag, "IfMatch": etag},
    ):
        assert outcome(s3.copy_object, Key=target, CopySource=source, **conditions) == 412
    assert body_of(s3, target) == b"old"


def test_a_part_is_copied_of_the_object_that_was_seen(s3: Any, key: str) -> None:
    etag, source = put(s3, key, b"new"), {"Bucket": BUCKET, "Key": key}
    target = f"{key}.parts"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=target)["UploadId"]
    part = {"Key": target, "UploadId": upload, "PartNumber": 1, "CopySource": source}
    assert outcome(s3.upload_part_copy, **part, CopySourceIfMatch=WRONG) == 412
    assert outcome(s3.upload_part_copy, **part, CopySourceIfMatch=etag) == 200


def test_conditions_are_looked_at_before_the_range(s3: Any, key: str) -> None:
    etag = put(s3, key)
    beyond = {"Key": key, "Range": "bytes=100-200"}
    assert outcome(s3.get_object, **beyond) == 416
    assert outcome(s3.get_object, **beyond, IfMatch=etag) == 416
    assert outcome(s3.get_object, **beyond, IfMatch=WRONG) == 412
    assert outcome(s3.head_object, **beyond, IfMatch=WRONG) == 412
    assert outcome(s3.get_object, **beyond, IfNoneMatch=etag) == 304
    assert body_of(s3, key) == b"old"


def test_of_many_writers_of_a_new_object_one_succeeds(s3: Any, key: str) -> None:
    def create(number: int) -> int:
        return outcome(s3.put_object, Key=key, Body=b"%d" % number, IfNoneMatch="*")

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(create, range(8)))
        assert sorted(statuses) == [200] + [412] * 7
        assert body_of(s3, key) == b"%d" % statuses.index(200)
        s3.delete_object(Bucket=BUCKET, Key=key)


def signed_put(s3: Any, key: str, body: bytes, **conditions: str) -> bytes:
    """The bytes of a PUT, as a client sends them that does not wait to be told to go on."""
    caught: list[Any] = []

    def catch(request: Any, **_: Any) -> Any:
        caught.append(request)
        raise InterruptedError

    name = "before-send.s3.PutObject"
    s3.meta.events.register(name, catch)
    try:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, **conditions)
    except InterruptedError:
        pass
    finally:
        s3.meta.events.unregister(name, catch)
    path = urlsplit(caught[0].url).path
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in caught[0].headers.items()
        if name != "Expect"
    }
    headers["Host"] = urlsplit(s3.meta.endpoint_url).netloc
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"PUT {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def connected(address: str) -> socket.socket:
    where = urlsplit(address)
    return socket.create_connection((str(where.hostname), where.port or 0), 10)


def test_a_condition_must_hold_when_the_last_byte_has_come(s3: Any, key: str) -> None:
    etag = put(s3, key)
    request = signed_put(s3, key, b"slow" * 1000, IfMatch=etag)
    with connected(s3.meta.endpoint_url) as slow:
        slow.sendall(request[:-1])
        assert changed_by_put(s3, key, IfMatch=etag) == 200  # nobody waits for a slow body
        slow.sendall(request[-1:])
        assert slow.recv(100).startswith(b"HTTP/1.1 412 ")
    assert body_of(s3, key) == b"new"


def test_a_body_that_is_cut_changes_nothing(s3: Any, key: str) -> None:
    etag = put(s3, key)
    request = signed_put(s3, key, b"slow" * 1000, IfMatch=etag)
    with connected(s3.meta.endpoint_url) as slow:
        slow.sendall(request[:-1])
    assert body_of(s3, key) == b"old"
    assert changed_by_put(s3, key, IfMatch=etag) == 200


def test_a_large_body_goes_through_whole_and_its_connection_goes_on(s3: Any, key: str) -> None:
    body = bytes(range(256)) * 20_000
    etag = put(s3, key, body)
    assert changed_by_put(s3, key, IfMatch=WRONG) == 412
    put(s3, key, body[::-1], IfMatch=etag)
    assert body_of(s3, key) == body[::-1]
    part = s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=1000000-4999999")["Body"].read()
    assert part == body[::-1][1_000_000:5_000_000]


def hold(proxy: FaultProxy, method: str) -> tuple[threading.Event, threading.Event]:
    """Hold the next request of a method: an event when it has come, one to let it go."""
    came, released = threading.Event(), threading.Event()

    def fault(exchange: Any, closing: threading.Event) -> bool:
        came.set()
        assert released.wait(20)
        head, body = exchange.forward()
        exchange.client.connection.sendall(head + b"".join(body))
        return True

    def matches(request: Request) -> bool:
        return request.method == method

    proxy.fail(matches, fault, times=1)
    return came, released


def test_who_changes_an_object_holds_it_until_that_is_done(s3: Any, key: str) -> None:
    etag = put(s3, key)
    with (
        fault_proxy(s3.meta.endpoint_url) as proxy,
        front_over(proxy.address) as address,
        ThreadPoolExecutor(2) as pool,
    ):
        one, other = client_of(address), client_of(address)
        came, released = hold(proxy, "DELETE")
        deleted = pool.submit(changed_by_delete, one, key)  # without a condition
        assert came.wait(10)
        written = pool.submit(changed_by_put, other, key, IfMatch=etag)
        assert changed_by_put(client_of(address), f"{key}.other") == 200  # others need not wait
        assert not written.done()
        released.set()
        assert (deleted.result(10), written.result(10)) == (204, 404)


def test_the_end_of_the_front_ends_requests_under_way(s3: Any, key: str) -> None:
    with fault_proxy(s3.meta.endpoint_url) as proxy, ThreadPoolExecutor(1) as pool:
        with front_over(proxy.address) as address:
            proxy.fail(lambda request: request.method == "PUT", stall())
            pending = pool.submit(put, client_of(address), key)
            while not proxy.count(lambda request: request.method == "PUT"):
                threading.Event().wait(0.01)
        with pytest.raises(Exception, match=r"(?i)connection"):
            pending.result(10)


def test_there_are_no_more_connections_than_allowed(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_front, "_MAX_CONNECTIONS", 1)
    with front_over(s3.meta.endpoint_url) as address, connected(address) as first:
        first.sendall(b"GET /b/%b HTTP/1.1\r\n\r\n" % (b"k" * 1025))
        assert first.recv(100).startswith(b"HTTP/1.1 400")
        with connected(address) as second:
            assert second.recv(100).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("request_head", "answer"),
    [
        (b"PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 411 "),
        (b"no request\r\n\r\n", b""),
        (b"PUT /b/k HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b""),
        (b"GET /" + b"x" * 200_000, b""),
    ],
)
def test_what_is_no_request_ends_its_connection(
    s3: Any, request_head: bytes, answer: bytes
) -> None:
    with connected(s3.meta.endpoint_url) as connection:
        connection.sendall(request_head)
        try:
            assert connection.recv(1000)[: len(answer) or 1000] == answer
        except ConnectionResetError:
            assert not answer


def test_keys_above_the_limit_are_refused(s3: Any) -> None:
    longest = "/".join(["front", "ü" * 100, *["k" * 200] * 4]).ljust(923, "x")
    assert len(longest.encode()) == 1023
    put(s3, longest + "y")
    for call in (s3.put_object, s3.get_object, s3.delete_object):
        with pytest.raises(ClientError, match="KeyTooLongError"):
            call(Bucket=BUCKET, Key=longest + "yz")
    assert outcome(s3.head_object, Key=longest + "yz") == 400


def test_markers_have_an_etag(s3: Any) -> None:
    key = "front/markers/a&b/"
    assert put(s3, key, b"", IfNoneMatch="*") == NOTHING
    assert s3.head_object(Bucket=BUCKET, Key=key)["ETag"] == NOTHING
    assert s3.get_object(Bucket=BUCKET, Key=key)["ETag"] == NOTHING
    put(s3, "front/markers/z.txt")
    for call, entries in (
        (s3.list_objects, "Contents"),
        (s3.list_objects_v2, "Contents"),
        (s3.list_object_versions, "Versions"),
    ):
        listed = call(Bucket=BUCKET, Prefix="front/markers/")[entries]
        found = {entry["Key"]: entry["ETag"] for entry in listed}
        assert found[key] == NOTHING
        assert (
            found["front/markers/z.txt"]
            == s3.head_object(Bucket=BUCKET, Key="front/markers/z.txt")["ETag"]
        )
    assert changed_by_empty_put(s3, key, IfNoneMatch="*") == 412
    assert changed_by_delete(s3, key, IfMatch=WRONG) == 412
    assert changed_by_delete(s3, key, IfMatch=NOTHING) == 204


def test_many_are_deleted_each_by_its_condition(s3: Any, key: str) -> None:
    seen, changed, gone, free = (f"{key}/{name}" for name in ("seen", "changed", "g&<ö", "free"))
    etag = put(s3, seen)
    put(s3, changed)
    put(s3, free)
    objects = [
        {"Key": seen, "ETag": etag},
        {"Key": changed, "ETag": WRONG},
        {"Key": gone, "ETag": etag},
        {"Key": free},
        {"Key": f"{key}/never"},
    ]
    with pytest.raises(ClientError, match="ExpiredToken"):
        delete_many(s3, objects)  # with keys that the front did not see issued
    assert delete_many(s3, [{"Key": changed, "ETag": WRONG}]) == {changed: "PreconditionFailed"}
    assert delete_many(s3, [objects[0], *objects[3:]]) == {
        **{seen: "deleted", free: "deleted", f"{key}/never": "deleted"}
    }
    assert [body_of(s3, name) for name in (seen, changed, free)] == [None, b"old", None]
    put(s3, seen)
    assert delete_many(s3, [{"Key": seen, "ETag": etag}], Quiet=True) == {}
    assert body_of(s3, seen) is None


def test_what_is_left_of_many_is_deleted_with_the_rights_of_who_asked(
    s3: Any, services: RunningServices
) -> None:
    handle = services.mint()
    path = services.fetch(handle)["item"]["s3"]["path"]
    alice = services.s3(services.keys(handle, "write"))
    inside, changed, outside = path + "in.txt", path + "changed.txt", "front/outside.txt"
    for name in (inside, changed, outside):
        put(s3, name)
    objects = [{"Key": inside}, {"Key": changed, "ETag": WRONG}, {"Key": outside}]
    assert delete_many(alice, objects) == {
        inside: "deleted",
        changed: "PreconditionFailed",
        outside: "AccessDenied",
    }
    assert [body_of(s3, name) for name in (inside, changed, outside)] == [None, b"old", b"old"]


def test_deleting_many_needs_a_digest_and_xml(services: RunningServices) -> None:
    s3 = client_of(services.s3_endpoint)

    def spoil(request: Any, **_: Any) -> None:
        for name in [name for name in request.headers if name.lower().startswith("x-amz-checksum")]:
            del request.headers[name]

    s3.meta.events.register("before-sign.s3.DeleteObjects", spoil)
    with pytest.raises(ClientError, match="InvalidRequest"):
        delete_many(s3, [{"Key": "front/none"}])
    with pytest.raises(ClientError, match="MalformedXML"):
        delete_many(client_of(services.s3_endpoint), [{"Key": f"k{n}"} for n in range(1001)])


def test_who_may_not_write_learns_nothing_of_the_object(s3: Any, services: RunningServices) -> None:
    handle = services.mint()
    key = services.fetch(handle)["item"]["s3"]["path"] + "a.txt"
    put(s3, key)
    reader = services.s3(services.keys(handle, "read"))
    for conditions in ({}, {"IfMatch": WRONG}, {"IfNoneMatch": "*"}):
        for body in (b"small", bytes(3_000_000)):
            assert outcome(reader.put_object, Key=key, Body=body, **conditions) == 403
    assert body_of(s3, key) == b"old"


def test_keys_and_tokens_stay_out_of_reprs() -> None:
    keys = Credentials("id", "the-secret", "the-token", Gateway(0, KEYS, None).owner.expires_at)  # type: ignore[arg-type]
    shown = repr(Site(("127.0.0.1", 1), REGION, keys, lambda _: keys))
    assert "the-secret" not in shown and "the-token" not in shown


def test_a_server_without_conditions_has_them_behind_the_front() -> None:
    """So tests of conflicts can be on moto, which passes over those of copies and completions."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with front_over(f"http://{host}:{port}") as address:
            s3, key = client_with_bucket(address), "k"
            for change in CHANGES:
                put(s3, key)
                assert change(s3, key, IfMatch=WRONG) == 412
            test_a_copy_has_conditions_on_both_ends(s3, key)
            test_a_part_is_copied_of_the_object_that_was_seen(s3, key)
    finally:
        server.stop()
