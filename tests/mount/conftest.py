"""Mounts of the session's sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from mounting import Drive, mounted
from running_sandbox import RunningSandbox

MountAs = Callable[..., Drive]


@pytest.fixture(scope="session")
def alice(
    sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Drive]:
    """A mount of alice for tests that only look."""
    home = tmp_path_factory.mktemp("alice")
    with mounted(sandbox, "alice", home, "--allow-other") as drive:
        home.chmod(0o755)
        yield drive


@pytest.fixture
def mount_as(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[MountAs]:
    """Mounts of a test's own: `mount_as(user, *flags)`."""
    with ExitStack() as stack:
        number = 0

        def mount(user: str, *flags: str) -> Drive:
            nonlocal number
            number += 1
            return stack.enter_context(mounted(sandbox, user, tmp_path / str(number), *flags))

        yield mount
