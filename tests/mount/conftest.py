"""Mounts of the session's sandbox."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import Drive, mounted
from tests.support.running_sandbox import RunningSandbox


@pytest.fixture(scope="session")
def alice(sandbox: RunningSandbox, shared_folder: Path) -> Iterator[Drive]:
    """A mount of alice for tests that only look."""
    with mounted(sandbox, "alice", shared_folder / "alice", "--allow-other") as drive:
        yield drive


@pytest.fixture(scope="session")
def bob(sandbox: RunningSandbox, shared_folder: Path) -> Iterator[Drive]:
    """A mount of bob, who owns nothing."""
    with mounted(sandbox, "bob", shared_folder / "bob", "--allow-other") as drive:
        yield drive


@pytest.fixture(scope="session")
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="provenafs-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def writer(sandbox: RunningSandbox, shared_folder: Path) -> Iterator[Drive]:
    """A mount of alice for tests that write, each into a dataset of its own."""
    with mounted(sandbox, "alice", shared_folder / "writer") as drive:
        yield drive


@pytest.fixture
def handle(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> str:
    """A new dataset of alice without files."""
    return sandbox.mint("alice", f"For {request.node.name[:80]}")
