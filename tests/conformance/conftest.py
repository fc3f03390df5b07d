"""The official client's own environment, and one run of every row in it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.running_services import RunningServices, running_services

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent.parent / ".venv-provenaclient"
REQUIREMENTS = HERE / "requirements.txt"
_INSTALL_S, _RUN_S = 300, 240


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServices]:
    """A sandbox without samples."""
    with running_services(tmp_path_factory.mktemp("conformance")) as services:
        yield services


@pytest.fixture(scope="session")
def outcomes(
    client_python: Path, services: RunningServices, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """What became of each row: None, or a traceback."""
    run = subprocess.run(
        [client_python, str(HERE / "client_rows.py")],
        input=json.dumps(_setup(services)),
        env=_environment(services),
        cwd=tmp_path_factory.mktemp("rows"),
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    results: dict[str, str | None] = json.loads(run.stdout.splitlines()[-1])
    return results


def _setup(services: RunningServices) -> dict[str, object]:
    users = ("alice", "bob", "carol", "admin")
    urls = services.urls
    return {
        "urls": {name: getattr(urls, name) for name in urls.__slots__},
        "s3_endpoint": services.s3_endpoint,
        "offline_tokens": {
            user: services.login(user, "offline_access")["refresh_token"] for user in users
        },
        "organisation": services.organisation(),
        "persons": {"carol": services.person("carol")},
    }


def _environment(services: RunningServices) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "AWS_ENDPOINT_URL": services.s3_endpoint, "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="session")
def client_python() -> Path:
    """The interpreter of the client's environment, which is made where it is missing or old."""
    python, mark = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    with REQUIREMENTS.open() as lock:
        # Tests may run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(python, mark, wanted)
    return python


def _install(python: Path, mark: Path, wanted: str) -> None:
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(ENVIRONMENT)],
            [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", REQUIREMENTS],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_S)
        mark.write_text(wanted)
