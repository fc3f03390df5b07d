"""login, logout, whoami and profile, as somebody at a terminal uses them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from provenafs.sandbox.process import clean_environment
from tests.support.running_sandbox import RunningSandbox, run_cli

PROGRAM = Path(sys.executable).parent / "provenafs"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return clean_environment(tmp_path)


@pytest.fixture
def profile(sandbox: RunningSandbox, environ: dict[str, str]) -> str:
    running = sandbox.running
    done = run_cli(
        environ,
        *("profile", "add", "own", "--auth-url", running.realm),
        *("--datastore-url", running.datastore, "--registry-url", running.registry),
        *("--search-url", running.search),
    )
    assert done.returncode == 0, done.stderr
    return "own"


@contextmanager
def login(environ: dict[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A login that waits to be confirmed, and the address of the page for that."""
    with subprocess.Popen(
        [PROGRAM, "login", "--no-browser", *options],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = re.fullmatch(r"Open (\S+)\n", process.stdout.readline())
            assert address is not None
            assert re.search("confirm the code [A-Z-]{9}", process.stdout.readline())
            yield process, address[1]
        finally:
            process.kill()


def answer(address: str, user: str, decision: str) -> None:
    """What the user does in the browser."""
    code = httpx.URL(address).params["user_code"]
    form = {"user_code": code, "username": user, "password": user, "decision": decision}
    with httpx.Client(trust_env=False) as http:
        assert http.post(address, data=form).status_code == 200


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_login_whoami_logout(environ: dict[str, str], profile: str, options: list[str]) -> None:
    with login(environ, "--profile", profile, *options) as (process, address):
        answer(address, "bob", "approve")
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == "Logged in as bob (profile 'own').\n"
    who = run_cli(environ, "whoami", "--profile", profile, "--json")
    assert json.loads(who.stdout)["username"] == "bob"
    out = run_cli(environ, "logout", "--profile", profile)
    assert out.stdout == "Logged out (profile 'own').\n"
    after = run_cli(environ, "whoami", "--profile", profile)
    assert after.returncode == 3
    assert after.stderr == ("provenafs: nobody is logged in: run 'provenafs login --profile own'\n")


def test_a_refused_login(environ: dict[str, str], profile: str) -> None:
    with login(environ, "--profile", profile) as (process, address):
        answer(address, "bob", "deny")
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 5
    assert stderr == "provenafs: the login was refused in the browser\n"


def test_profiles(environ: dict[str, str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = run_cli(environ, "profile", *arguments)
        return done.returncode, done.stdout, done.stderr

    add = ("add", "a", "--domain", "example.org", "--realm", "r", "--no-check")
    assert run(*add)[0] == 0
    ((name, file),) = [line.split("\t") for line in run("list")[1].splitlines()]
    assert (name, Path(file).name) == ("a", "a.toml")
    assert json.loads(run("list", "--json")[1]) == [{"name": "a", "file": file}]
    assert "realm https://auth.example.org/auth/realms/r" in run("show", "a")[1]
    status, _, said = run(*add)
    assert (status, "already" in said) == (2, True)
    status, _, said = run("add", "b", "--domain", "example.org")
    assert (status, "--realm" in said) == (2, True)
    assert run("remove", "a", "--yes") == (0, "Removed the profile 'a'.\n", "")
    status, _, said = run("show", "a")
    assert (status, said) == (2, "provenafs: there is no profile 'a' (none exists yet)\n")


def test_a_profile_is_checked_before_it_is_added(
    sandbox: RunningSandbox, environ: dict[str, str]
) -> None:
    running = sandbox.running
    add = ("profile", "add", "own", "--auth-url", running.realm, "--registry-url", running.registry)
    done = run_cli(
        environ,
        *(*add, "--search-url", running.search, "--datastore-url", "http://127.0.0.1:9"),
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nothing is added" in done.stderr
    assert "the registry: found" in done.stdout
    assert "the data store at http://127.0.0.1:9 cannot be reached" in done.stdout
    assert run_cli(environ, "profile", "list").stdout == ""


def test_a_broken_profile_is_shown_and_removed(environ: dict[str, str]) -> None:
    folder = Path(environ["XDG_CONFIG_HOME"]) / "provenafs" / "profiles"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "bad.toml").write_text('token = "secret"\ntll = 3\n')
    shown = run_cli(environ, "profile", "show", "bad")
    assert shown.returncode == 2
    assert shown.stdout.splitlines()[1:] == ["token = **********", "tll = 3"]
    assert "did you mean ttl?" in shown.stderr
    removed = run_cli(environ, "profile", "remove", "bad", "--yes")
    assert (removed.returncode, removed.stdout) == (0, "Removed the profile 'bad'.\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["whoami"], 2, "no Provena instance is configured"),
        (["login", "--profile", "x"], 2, "no profile 'x'"),
        (["bogus"], 2, "No such command 'bogus'"),
        (["login", "--bogus"], 2, "No such option"),
        ([], 2, ""),
    ],
)
def test_wrong_use(environ: dict[str, str], arguments: list[str], status: int, words: str) -> None:
    done = run_cli(environ, *arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_realm(environ: dict[str, str]) -> None:
    addresses = {
        f"PROVENAFS_{name}_URL": "http://127.0.0.1:9"
        for name in ("DATASTORE", "REGISTRY", "SEARCH", "AUTH")
    }
    done = run_cli(environ | addresses, "login")
    assert done.returncode == 6
    assert done.stderr.startswith("provenafs: the login service at http://127.0.0.1:9 cannot")
    assert done.stderr.count("\n") == 1


def test_help_and_version_import_next_to_nothing(environ: dict[str, str]) -> None:
    script = (
        "import sys; sys.argv = ['provenafs', sys.argv[1]]\n"
        "from provenafs.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'pydantic', 'httpx', 'trio', 'boto3'} & set(sys.modules)))\n"
    )
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", script, option],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.endswith("\n[]\n")
