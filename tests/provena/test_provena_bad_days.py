"""What the client makes of services that fail, lie, stall or are not there."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from provenafs.provena.client import Provena
from provenafs.provena.errors import (
    Invalid,
    Locked,
    LoginRequired,
    NotFound,
    ProvenaError,
    Released,
    Unauthorised,
    Unavailable,
)
from tests.support.loopback import CUT, STALL, Answer, Loopback, closed_port
from tests.support.provena_answers import (
    FETCH,
    HANDLE,
    MINT,
    READ,
    SUCCESS,
    WRITE,
    fetched,
    refused_token,
    settings_for,
    token,
)

LEAKED = "ASIAABCDEFGHIJKLMNOP"


async def test_failures_of_an_idempotent_call_are_tried_again(
    server: Loopback, provena: Provena
) -> None:
    server.on(FETCH, Answer(503, {"message": "x"}), CUT, Answer(429), Answer(502), fetched())
    assert (await provena.datastore.fetch(HANDLE)).record.id == HANDLE
    assert server.count(FETCH) == 5


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_lasting_failure_is_unavailable(
    server: Loopback, provena: Provena, status: int
) -> None:
    server.on(FETCH, Answer(status, {"message": "no"}))
    with pytest.raises(Unavailable) as caught:
        await provena.datastore.fetch(HANDLE)
    assert caught.value.status == status
    assert server.count(FETCH) == 5


async def test_text_of_a_failure_is_never_shown(server: Loopback, provena: Provena) -> None:
    server.on(READ, Answer(500, {"detail": f"failed for url https://x?Session={LEAKED}"}))
    with pytest.raises(Unavailable) as caught:
        await provena.broker.get(HANDLE, "read")
    assert LEAKED not in "".join(traceback.format_exception(caught.value))


async def test_keys_in_a_refusal_are_cut_out(server: Loopback, provena: Provena) -> None:
    server.on(FETCH, Answer(400, {"detail": f"no such thing, keys {LEAKED} {token()}"}))
    server.on(MINT, Answer(400, {"detail": f"no such thing, keys {LEAKED} {token()}"}))
    with pytest.raises(Invalid, match="no such thing") as caught:
        await provena.datastore.mint({})
    assert LEAKED not in str(caught.value)
    assert token() not in str(caught.value)


@pytest.mark.parametrize("answer", [Answer(503), Answer(502), CUT])
async def test_minting_is_never_repeated(
    server: Loopback, provena: Provena, answer: Answer
) -> None:
    server.on(MINT, answer)
    with pytest.raises(Unavailable):
        await provena.datastore.mint({})
    assert server.count(MINT) == 1


async def test_an_unlinked_user_is_told_so(server: Loopback, provena: Provena) -> None:
    server.on(MINT, Answer(500, {"detail": "Status code: 400. Details: ... you must link ..."}))
    with pytest.raises(Invalid, match="not linked to a Person"):
        await provena.datastore.mint({})


async def test_a_failure_to_mint_may_come_as_success(server: Loopback, provena: Provena) -> None:
    status = {"success": False, "details": "Validation Error: no such organisation."}
    server.on(MINT, Answer(body={"status": status, "handle": None, "s3_location": None}))
    with pytest.raises(Invalid, match="no such organisation"):
        await provena.datastore.mint({})


async def test_a_minted_dataset_whose_job_failed_is_minted(
    server: Loopback, provena: Provena
) -> None:
    location = {"bucket_name": "b", "path": "p/", "s3_uri": "s3://b/p/"}
    status = {"success": False, "details": "no job"}
    server.on(MINT, Answer(body={"status": status, "handle": HANDLE, "s3_location": location}))
    assert (await provena.datastore.mint({})).handle == HANDLE


async def test_a_stalled_service_fails_within_the_deadline(
    server: Loopback, tmp_path: Path
) -> None:
    server.on(FETCH, STALL)
    settings = settings_for(server, tmp_path, token="given", api_timeout=0.2)
    async with Provena.connect(settings) as provena:
        with pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"):
            await provena.datastore.fetch(HANDLE)


async def test_a_service_that_is_not_there(server: Loopback, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    settings = settings_for(server, tmp_path, token="given", datastore_url=address)
    async with Provena.connect(settings) as provena:
        with pytest.raises(Unavailable, match=rf"the data store at {address} cannot be reached"):
            await provena.datastore.fetch(HANDLE)


async def test_a_host_that_is_not_known(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(
        server, tmp_path, token="given", api_timeout=2, datastore_url="https://no-host.invalid"
    )
    async with Provena.connect(settings) as provena:
        with pytest.raises(Unavailable, match=r"the data store at https://no-host\.invalid"):
            await provena.datastore.fetch(HANDLE)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"[" * 100_000, b"\xff{}"])
async def test_an_answer_that_is_no_json(server: Loopback, provena: Provena, body: bytes) -> None:
    server.on(FETCH, Answer(200, body))
    with pytest.raises(Unavailable, match=r"no JSON.*is the address right"):
        await provena.datastore.fetch(HANDLE)


@pytest.mark.parametrize(
    "body",
    [None, [], {}, *({"status": status} for status in (3, {}, {"success": None}, SUCCESS))],
)
async def test_json_of_another_form(server: Loopback, provena: Provena, body: object) -> None:
    server.on(FETCH, Answer(200, body))
    with pytest.raises(Unavailable):
        await provena.datastore.fetch(HANDLE)


async def test_credentials_of_another_form_do_not_show(server: Loopback, provena: Provena) -> None:
    half = {"aws_access_key_id": LEAKED, "aws_secret_access_key": "s", "expiry": "soon"}
    server.on(READ, Answer(body={"status": {"success": True, "details": ""}, "credentials": half}))
    with pytest.raises(Unavailable, match=r"credentials\.") as caught:
        await provena.broker.get(HANDLE, "read")
    assert LEAKED not in "".join(traceback.format_exception(caught.value))


FETCH_UNKNOWN = "The registry API responded with status success False during dataset fetching."


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (400, {"detail": f"{FETCH_UNKNOWN} Details: x"}, NotFound, HANDLE),
        (401, {"detail": "Registry did not grant access"}, Unauthorised, "did not grant"),
        (403, {"message": "Forbidden"}, Unauthorised, "Forbidden"),
        (404, {"detail": "Not Found"}, Unavailable, "is the address right"),
        (307, {}, Unavailable, "is the address right"),
        (
            422,
            {"detail": [{"loc": ["body", "a", "license"], "msg": "field required"}]},
            Invalid,
            "a.license: field required",
        ),
    ],
)
async def test_what_a_status_means(
    server: Loopback,
    provena: Provena,
    status: int,
    body: object,
    expected: type[ProvenaError],
    words: str,
) -> None:
    server.on(FETCH, Answer(status, body))
    with pytest.raises(expected, match=words) as caught:
        await provena.datastore.fetch(HANDLE)
    assert type(caught.value) is expected
    assert server.count(FETCH) == 1


async def test_why_there_are_no_write_credentials(server: Loopback, provena: Provena) -> None:
    server.on(
        WRITE,
        Answer(401, {"detail": "This dataset is locked - you cannot modify the files."}),
        Answer(403, {"detail": "Dataset x is pending review or is released."}),
        Answer(401, {"detail": "You do not have sufficient permissions to write."}),
    )
    for expected in (Locked, Released, Unauthorised):
        with pytest.raises(expected) as caught:
            await provena.datastore.credentials(HANDLE, "write")
        assert type(caught.value) is expected


async def test_a_missing_realm_role_is_no_matter_of_logging_in(
    server: Loopback, tmp_path: Path
) -> None:
    detail = "You are not authorised to access this resource as you don't have the correct role."
    server.on(FETCH, Answer(401, {"detail": detail}, {"WWW-Authenticate": "Bearer"}))
    file = tmp_path / "token"
    file.write_text("one")
    file.chmod(0o600)

    async with Provena.connect(settings_for(server, tmp_path, token_file=file)) as provena:
        with pytest.raises(Unauthorised) as caught:
            await provena.datastore.fetch(HANDLE)
    assert not isinstance(caught.value, LoginRequired)


@pytest.mark.parametrize("header", ["WWW-Authenticate", "x-amzn-Remapped-WWW-Authenticate"])
async def test_a_refused_token_is_renewed_once(
    server: Loopback, tmp_path: Path, header: str
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    file.chmod(0o600)

    def refuse_and_renew(_: object) -> Answer:
        file.write_text("second\n")
        return refused_token(header)

    server.on(FETCH, refuse_and_renew, fetched())
    async with Provena.connect(settings_for(server, tmp_path, token_file=file)) as provena:
        await provena.datastore.fetch(HANDLE)
    assert [seen.token for seen in server.seen] == ["first", "second"]


async def test_a_given_token_that_is_refused(server: Loopback, provena: Provena) -> None:
    server.on(FETCH, refused_token())
    with pytest.raises(LoginRequired, match="PROVENAFS_TOKEN is expired or not valid"):
        await provena.datastore.fetch(HANDLE)
    assert server.count(FETCH) == 1


async def test_a_token_file_that_is_not_there(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path, token_file=tmp_path / "none")
    async with Provena.connect(settings) as provena:
        with pytest.raises(LoginRequired, match="none cannot be read: No such file"):
            await provena.datastore.fetch(HANDLE)
