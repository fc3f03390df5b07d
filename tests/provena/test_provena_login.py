"""Logging in, and keeping tokens: on disk, in time, and among processes."""

from __future__ import annotations

import base64
import os
import stat
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from provenafs.config import Settings
from provenafs.provena.client import Provena
from provenafs.provena.errors import (
    Invalid,
    LoginRequired,
    ProvenaError,
    Unauthorised,
    Unavailable,
)
from provenafs.provena.login import log_in, log_out
from provenafs.provena.realm import DeviceLogin
from provenafs.provena.tokens import LoginFile, Tokens
from tests.support.loopback import CUT, Answer, Loopback, Seen, closed_port
from tests.support.provena_answers import (
    DEVICE,
    FETCH,
    HANDLE,
    TOKEN,
    fetched,
    refused_token,
    settings_for,
    token,
)

LOGOUT = "/realm/protocol/openid-connect/logout"


def device(**more: Any) -> Answer:
    return Answer(
        body={
            "device_code": "device-secret",
            "user_code": "ABCD-EFGH",
            "verification_uri": "https://auth/device",
            "verification_uri_complete": "https://auth/device?user_code=ABCD-EFGH",
            "expires_in": 600,
            "interval": 0,
            **more,
        }
    )


def granted(number: int = 1, username: str = "alice", expires_in: float = 300) -> Answer:
    return Answer(
        body={
            "access_token": token(username, number=number),
            "expires_in": expires_in,
            "refresh_token": f"refresh-{number}",
        }
    )


def refused(error: str) -> Answer:
    return Answer(400, {"error": error})


def log_file(settings: Settings) -> LoginFile:
    return LoginFile(settings.state_dir, settings.profile)


def stored(settings: Settings, *, expires_in: float, username: str = "alice") -> Tokens:
    tokens = Tokens(
        realm=settings.services.realm,
        client_id="client-tools",
        access_token=token(username, number=0),
        expires_at=time.time() + expires_in,
        refresh_token="refresh-0",
    )
    log_file(settings).write(tokens)
    return tokens


async def test_device_login(server: Loopback, tmp_path: Path) -> None:
    server.on(DEVICE, device())
    pending, slower = refused("authorization_pending"), refused("slow_down")
    server.on(TOKEN, pending, Answer(503), CUT, slower, pending, granted())
    settings = settings_for(server, tmp_path / "state")
    told: list[DeviceLogin] = []
    tokens = await log_in(settings, told.append)
    assert tokens.username == "alice"
    assert [login.user_code for login in told] == ["ABCD-EFGH"]
    assert "device-secret" not in repr(told)
    assert tokens.access_token not in repr(tokens)
    path = tmp_path / "state" / "tokens" / "default.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    async with Provena.connect(settings) as provena:
        assert await provena.username() == "alice"
    assert server.seen[1].form == {"client_id": "client-tools"}


async def test_offline_login_asks_for_roles(server: Loopback, tmp_path: Path) -> None:
    server.on(DEVICE, device())
    server.on(TOKEN, granted())
    await log_in(settings_for(server, tmp_path), lambda _: None, offline=True)
    assert server.seen[1].form == {
        "client_id": "automated-access",
        "scope": "offline_access roles",
    }


@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        (refused("expired_token"), LoginRequired, "not confirmed in time"),
        (refused("access_denied"), Unauthorised, "refused in the browser"),
        (refused("invalid_grant"), Invalid, "invalid_grant"),
        (Answer(200, b"<html>"), Unavailable, "no Keycloak realm"),
        (Answer(200, {"token_type": "Bearer"}), Unavailable, "no Keycloak realm"),
    ],
)
async def test_how_a_device_login_can_end(
    server: Loopback,
    tmp_path: Path,
    answer: Answer,
    expected: type[ProvenaError],
    words: str,
) -> None:
    server.on(DEVICE, device())
    server.on(TOKEN, refused("authorization_pending"), answer)
    with pytest.raises(expected, match=words):
        await log_in(settings_for(server, tmp_path), lambda _: None)
    assert log_file(settings_for(server, tmp_path)).read() is None


async def test_a_login_nobody_confirms_ends(server: Loopback, tmp_path: Path) -> None:
    server.on(DEVICE, device(expires_in=0.2))
    server.on(TOKEN, refused("authorization_pending"))
    with pytest.raises(LoginRequired, match="not confirmed in time"):
        await log_in(settings_for(server, tmp_path), lambda _: None)


async def test_an_unknown_client_is_told(server: Loopback, tmp_path: Path) -> None:
    server.on(DEVICE, Answer(401, {"error": "invalid_client"}))
    with pytest.raises(Invalid, match=r"'client-tools'.*invalid_client"):
        await log_in(settings_for(server, tmp_path), lambda _: None)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, {"error": "Realm does not exist"}),
        Answer(200, b"<html>some page</html>"),
        Answer(200, {"realm": "x"}),
        Answer(200, []),
    ],
)
async def test_a_wrong_realm_is_told(server: Loopback, tmp_path: Path, answer: Answer) -> None:
    server.on("/realm", answer)
    with pytest.raises(Unavailable, match=r"no Keycloak realm at .*/realm .*check 'realm'"):
        await log_in(settings_for(server, tmp_path), lambda _: None)


async def test_an_unreachable_realm_is_told(server: Loopback, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}/realm"
    settings = settings_for(server, tmp_path, auth_url=address)
    with pytest.raises(Unavailable, match=r"the login service at .* cannot be reached"):
        await log_in(settings, lambda _: None)


async def test_logout_ends_the_session(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=300)
    server.on(LOGOUT, Answer(204, b""))
    assert await log_out(settings)
    assert server.seen[-1].form["refresh_token"] == "refresh-0"
    assert not await log_out(settings)
    async with Provena.connect(settings) as provena:
        with pytest.raises(LoginRequired, match="run 'provenafs login --profile default'"):
            await provena.username()


async def test_many_tasks_refresh_once(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=0)
    server.on(TOKEN, granted())
    server.on(FETCH, fetched())
    async with Provena.connect(settings) as provena, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(provena.datastore.fetch, HANDLE)
    assert server.count(TOKEN) == 1
    assert {seen.token for seen in server.seen if seen.path == FETCH} == {token(number=1)}


async def test_a_token_the_service_refuses_is_refreshed(server: Loopback, tmp_path: Path) -> None:
    """The clocks may disagree on when a token ends."""
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=300)
    server.on(TOKEN, granted())

    def only_new(seen: Seen) -> Answer:
        return fetched() if seen.token == token(number=1) else refused_token()

    server.on(FETCH, only_new)
    async with Provena.connect(settings) as provena, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(provena.datastore.fetch, HANDLE)
    assert server.count(TOKEN) == 1


async def test_a_refresh_token_that_has_ended(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path, profile="mine")
    stored(settings, expires_in=0)
    server.on(TOKEN, refused("invalid_grant"))
    async with Provena.connect(settings) as provena:
        with pytest.raises(LoginRequired, match=r"expired.*run 'provenafs login --profile mine'"):
            await provena.datastore.fetch(HANDLE)


async def test_an_unreachable_realm_is_no_lost_login(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=0)
    server.on(TOKEN, Answer(503))
    async with Provena.connect(settings) as provena:
        with pytest.raises(Unavailable):
            await provena.datastore.fetch(HANDLE)
    assert log_file(settings).read() is not None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"realm": "x"}', "null"])
async def test_a_broken_login_file(server: Loopback, tmp_path: Path, content: str) -> None:
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=300)
    (tmp_path / "tokens" / "default.json").write_text(content)
    async with Provena.connect(settings) as provena:
        with pytest.raises(LoginRequired, match="cannot be read"):
            await provena.username()


async def test_tokens_of_another_realm_are_not_sent(server: Loopback, tmp_path: Path) -> None:
    stored(settings_for(server, tmp_path), expires_in=300)
    other = settings_for(server, tmp_path, auth_url=f"{server.url}/other")
    async with Provena.connect(other) as provena:
        with pytest.raises(LoginRequired, match="for another realm"):
            await provena.datastore.fetch(HANDLE)
    assert not server.seen


async def test_a_process_stays_the_user_it_began_as(server: Loopback, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=300)
    async with Provena.connect(settings) as provena:
        assert await provena.username() == "alice"
        bob = stored(settings, expires_in=300, username="bob")
        server.on(FETCH, refused_token(), fetched())
        server.on(TOKEN, granted())
        await provena.datastore.fetch(HANDLE)
        assert await provena.username() == "alice"
    assert log_file(settings).read() == bob


async def test_a_full_disk_keeps_the_login_in_memory(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(server, tmp_path)
    stored(settings, expires_in=0)
    server.on(TOKEN, granted())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    async with Provena.connect(settings) as provena:
        assert await provena.username() == "alice"
        assert await provena.username() == "alice"
    assert server.count(TOKEN) == 1


async def test_processes_share_one_refresh(server: Loopback, tmp_path: Path) -> None:
    """Each refresh token works once here, as where the realm revokes used ones."""
    settings = settings_for(server, tmp_path / "provenafs")
    stored(settings, expires_in=0)
    numbers, used = count(1), set[str]()

    def once(seen: Seen) -> Answer:
        refresh_token = seen.form["refresh_token"]
        if refresh_token in used:
            return refused("invalid_grant")
        used.add(refresh_token)
        return granted(next(numbers))

    server.on(TOKEN, once)
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PROVENAFS_DATASTORE_URL": f"{server.url}/data",
        "PROVENAFS_REGISTRY_URL": f"{server.url}/registry",
        "PROVENAFS_SEARCH_URL": f"{server.url}/search",
        "PROVENAFS_AUTH_URL": f"{server.url}/realm",
    }
    environ.pop("PROVENAFS_TOKEN", None)
    command = [str(Path(sys.executable).parent / "provenafs"), "whoami"]
    outputs = []

    async def whoami() -> None:
        done = await trio.run_process(command, env=environ, capture_stdout=True)
        outputs.append(done.stdout.decode().split()[0])

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(whoami)
    assert outputs == ["alice"] * 3
    assert server.count(TOKEN) == 1


async def test_an_offline_token_in_a_file_is_exchanged(server: Loopback, tmp_path: Path) -> None:
    offline = token(typ="Offline", azp="automated-access")
    file = tmp_path / "token"
    file.write_text(offline + "\n")
    file.chmod(0o600)
    server.on(TOKEN, granted())
    server.on(FETCH, fetched())
    async with Provena.connect(settings_for(server, tmp_path, token_file=file)) as provena:
        await provena.datastore.fetch(HANDLE)
        await provena.datastore.fetch(HANDLE)
    assert server.count(TOKEN) == 1
    assert server.seen[0].form["client_id"] == "automated-access"
    assert server.seen[0].form["refresh_token"] == offline
    assert server.seen[1].token == token(number=1)


async def test_an_offline_token_that_has_ended(server: Loopback, tmp_path: Path) -> None:
    server.on(TOKEN, refused("invalid_grant"))
    settings = settings_for(server, tmp_path, token=token(typ="Offline"))
    async with Provena.connect(settings) as provena:
        with pytest.raises(LoginRequired, match="PROVENAFS_TOKEN holds a token"):
            await provena.datastore.fetch(HANDLE)


@pytest.mark.parametrize(
    "text",
    ["two\nlines", "tw\ro", "a b", "Ünicode", "x" * 70_000, "\x1b[31m", "\x00"],
    ids=["two lines", "a return", "a blank", "no ASCII", "long", "a control", "a null"],
)
async def test_what_can_be_no_token_is_sent_to_nobody(
    server: Loopback, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(text)
    for settings in (
        settings_for(server, tmp_path, token_file=file),
        settings_for(server, tmp_path, token=text),
    ):
        async with Provena.connect(settings) as provena:
            with pytest.raises(LoginRequired, match="holds no token"):
                await provena.datastore.fetch(HANDLE)
            with pytest.raises(LoginRequired, match="holds no token"):
                await provena.username()
    assert not server.seen


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"realm":' * 2000 + "1" + "}" * 2000,
        "null",
        '{"realm": "r", "client_id": "c", "access_token": "a\\nb"}',
        '{"realm": "r", "client_id": 3, "access_token": "a"}',
        '{"realm": "r", "client_id": "c", "access_token": "a", "refresh_token": [1]}',
        '{"realm": "r", "client_id": "c", "expires_at": 5}',
    ],
)
async def test_a_stored_login_of_another_form_is_none(
    server: Loopback, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "tokens" / "default.json"
    file.parent.mkdir(mode=0o700)
    file.write_text(text)
    file.chmod(0o600)
    async with Provena.connect(settings_for(server, tmp_path)) as provena:
        with pytest.raises(LoginRequired, match="cannot be read; run 'provenafs login"):
            await provena.username()


@pytest.mark.parametrize("expires", ["NaN", "1e999", '"soon"', "null", "-1"])
async def test_a_stored_login_without_a_usable_time_is_renewed_or_used(
    server: Loopback, tmp_path: Path, expires: str
) -> None:
    server.on(TOKEN, Answer(body={"access_token": token("alice"), "expires_in": 300}))
    file = tmp_path / "tokens" / "default.json"
    file.parent.mkdir(mode=0o700)
    file.write_text(
        f'{{"realm": "{server.url}/realm", "client_id": "c", "access_token": "{token("alice")}",'
        f' "refresh_token": "r", "expires_at": {expires}}}'
    )
    file.chmod(0o600)
    async with Provena.connect(settings_for(server, tmp_path)) as provena:
        assert await provena.username() == "alice"


async def test_a_deep_token_tells_nothing(server: Loopback, tmp_path: Path) -> None:
    payload = base64.urlsafe_b64encode(b"[" * 60_000).decode()[:60_000]
    settings = settings_for(server, tmp_path, token=f"e30.{payload}.c2ln")
    async with Provena.connect(settings) as provena:
        assert await provena.username() == "unknown"
        assert await provena.may_change()


@pytest.mark.parametrize(
    ("access", "may_change"),
    [
        ({"roles": ["entity-registry-read"]}, False),
        ({"roles": ["entity-registry-read", "entity-registry-write"]}, True),
        ({"roles": []}, False),
        ({"roles": None}, True),
        ({}, True),
        (5, True),
    ],
)
async def test_the_realm_roles_of_a_token(
    server: Loopback, tmp_path: Path, access: Any, may_change: bool
) -> None:
    settings = settings_for(server, tmp_path, token=token("alice", realm_access=access))
    async with Provena.connect(settings) as provena:
        assert await provena.may_change() is may_change
