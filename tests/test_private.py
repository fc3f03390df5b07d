"""Folders and files of provenafs: nobody else's, and for nobody else."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provenafs import private
from provenafs.content.content import ContentOptions, open_content
from provenafs.content.journal import Journal
from provenafs.provena.auth import _read_token_file
from provenafs.provena.errors import LoginRequired
from provenafs.provena.tokens import LoginFile, Tokens
from provenafs.s3.calls import S3Context
from provenafs.sandbox.state import StateFolder

UNOWNED = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
TOKENS = Tokens("realm", "client", "a.b.c", 2e9, "refresh")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user's own that has nothing to do with provenafs."""
    path = tmp_path / "thesis.txt"
    path.write_text("all my work")
    return path


def assert_whole(victim: Path) -> None:
    assert victim.read_text() == "all my work"


@pytest.mark.usefixtures("umask")
def test_every_parent_is_the_owners_only(tmp_path: Path) -> None:
    private.top_folder(tmp_path / "a/b/c")
    private.folder(tmp_path / "a/b/c/d/e")
    for path in ("a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"):
        assert mode(tmp_path / path) == 0o700


def test_a_folder_of_ours_that_others_can_write_to_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o777)
    private.top_folder(path)
    assert mode(path) == 0o700


def test_a_folder_for_everybody_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    with pytest.raises(private.Untrusted, match="for everybody"):
        private.top_folder(path)
    assert mode(path) == 0o1777


@as_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, UNOWNED, UNOWNED)
    for use in (private.top_folder, private.folder):
        with pytest.raises(private.Untrusted, match="another user"):
            use(path)


def test_a_link_to_the_top_is_followed_and_none_below(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("disk")
    private.top_folder(tmp_path / "link")
    (tmp_path / "disk/sub").symlink_to(tmp_path)
    with pytest.raises(private.Untrusted, match="symbolic link"):
        private.folder(tmp_path / "link/sub")


def _symlink(planted: Path, victim: Path) -> None:
    planted.symlink_to(victim)


def _hardlink(planted: Path, victim: Path) -> None:
    planted.hardlink_to(victim)


def _database(path: Path) -> None:
    private.prepare_database(path)
    sqlite3.connect(path).execute("CREATE TABLE t (x)")


USES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "file": ("f", lambda folder: private.open_file(folder / "f", os.O_RDWR | os.O_TRUNC)),
    "database": ("d", lambda folder: _database(folder / "d")),
    "database-wal": ("d-wal", lambda folder: _database(folder / "d")),
    "journal": ("journal.sqlite", Journal),
    "sandbox-lock": ("lock", lambda folder: StateFolder(folder).prepare()),
}


@pytest.mark.parametrize("plant", [_symlink, _hardlink])
@pytest.mark.parametrize("use", USES)
def test_a_planted_link_leaves_the_victims_file_alone(
    tmp_path: Path, victim: Path, use: str, plant: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    name, act = USES[use]
    plant(folder / name, victim)
    with pytest.raises(Exception, match=r"delete it|put a copy"):
        act(folder)
    assert_whole(victim)


@pytest.mark.parametrize("plant", [_symlink, _hardlink])
@pytest.mark.parametrize("name", ["index-0.lock", "index-0.sqlite", "blocks.sqlite"])
async def test_a_link_planted_in_the_cache_leaves_the_victims_file_alone(
    tmp_path: Path, victim: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    plant(folder / name, victim)
    service = S3Context("http://127.0.0.1:1", 1.0)
    async with open_content(folder, service, ContentOptions(ttl=1.0), lambda _: None):
        assert mode(folder) == 0o700
    assert_whole(victim)


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_0600(tmp_path: Path) -> None:
    path = tmp_path / "new"
    os.close(private.open_file(path, os.O_RDWR | os.O_CREAT))
    private.replace(tmp_path / "text", "x")
    assert not mode(tmp_path / "text") & 0o077
    assert not mode(path) & 0o077
    path.chmod(0o644)
    os.close(private.open_file(path, os.O_RDWR))
    assert mode(path) == 0o600


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o640)
    with pytest.raises(LoginRequired, match=f"chmod 600 {path}"):
        _read_token_file(path)
    path.chmod(0o600)
    assert _read_token_file(path) == "secret"


@as_root
def test_a_token_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o600)
    os.chown(path, UNOWNED, UNOWNED)
    with pytest.raises(LoginRequired, match="another user"):
        _read_token_file(path)


def test_a_stored_login_that_others_can_read_is_refused(tmp_path: Path) -> None:
    login = LoginFile(tmp_path, "p")
    login.write(TOKENS)
    path = tmp_path / "tokens/p.json"
    assert mode(path) == 0o600
    path.chmod(0o644)
    with pytest.raises(LoginRequired, match="others can read it"):
        login.read()
    login.write(TOKENS)
    assert login.read() == TOKENS


@pytest.mark.parametrize("plant", [_symlink, _hardlink])
async def test_the_lock_of_a_login_is_no_link(
    tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "state/tokens").mkdir(parents=True)
    plant(tmp_path / "state/tokens/p.lock", victim)
    with pytest.raises(LoginRequired, match=r"delete it|put a copy"):
        async with LoginFile(tmp_path / "state", "p").locked(1.0):
            pass


def test_a_file_is_locked_once_and_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not private.is_locked(path)
    assert not path.exists()
    held = private.open_locked(path)
    assert mode(path) == 0o600
    assert private.is_locked(path)
    with pytest.raises(BlockingIOError):
        private.open_locked(path)
    os.close(held)
    assert not private.is_locked(path)
    os.close(private.open_locked(path))


def test_the_process_that_holds_a_sandbox_is_not_mistaken_for_a_killed_one(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    (tmp_path / "lock").write_text(f"{os.getpid()}99")  # of a killed one
    with state.claimed():
        assert state.holder() == os.getpid()
    assert state.holder() is None


@as_root
def test_a_credential_of_systemd_is_read_though_a_group_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("a.b.c\n")
    token.chmod(0o440)  # the mask of the access list that lets the unit's user in
    with pytest.raises(LoginRequired, match="others can read it"):
        _read_token_file(token)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert _read_token_file(token) == "a.b.c"
    os.chown(token, UNOWNED, UNOWNED)
    with pytest.raises(LoginRequired, match="belongs to another user"):
        _read_token_file(token)
