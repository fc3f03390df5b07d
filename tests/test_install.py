"""What a user installs: the wheel, in an environment without the extras, mounts."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.support.mounting import is_mounted
from tests.support.running_sandbox import RunningSandbox

_CHECKOUT = Path(__file__).parent.parent


def _run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=env, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a new environment that only the wheel was installed into."""
    folder = tmp_path_factory.mktemp("install")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, _CHECKOUT)
    (wheel,) = folder.glob("provenafs-*.whl")
    # The versions that are tested otherwise: what is new on PyPI today is not the question.
    tested = folder / "constraints.txt"
    tested.write_text(
        "".join(
            f"{one.name}=={one.version}\n" for one in distributions() if one.name != "provenafs"
        )
    )
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    _run(*pip, "--python", python, "install", "--no-compile", "-c", tested, wheel)
    return python.parent


@pytest.fixture
def environ(installed: Path, sandbox: RunningSandbox) -> dict[str, str]:
    """The environment of alice, with the new commands and nothing of the checkout."""
    system = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return sandbox.env("alice") | {"PATH": f"{installed}:{system}"}


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mount"
    path.mkdir()
    yield path
    if is_mounted(path):
        subprocess.run(["fusermount3", "-u", "-z", "--", str(path)], check=False)


def test_the_wheel_mounts(
    installed: Path, environ: dict[str, str], mountpoint: Path, tmp_path: Path
) -> None:
    provenafs = installed / "provenafs"
    where = _run(installed / "python", "-P", "-c", "import provenafs; print(provenafs.__file__)")
    assert Path(where).is_relative_to(installed.parent)
    folders = ("--cache-dir", tmp_path / "cache", "--state-dir", tmp_path / "state")
    _run(provenafs, "mount", *folders, mountpoint, env=environ)
    assert "by-name" in os.listdir(mountpoint)
    written = mountpoint / "10378.1-1451860/data/installed.txt"
    written.write_text("kept\n")
    assert written.read_text() == "kept\n"
    written.unlink()
    _run(provenafs, "umount", mountpoint, env=environ)
    assert not is_mounted(mountpoint)


def test_a_verb_without_its_packages_says_which_extra_has_them(
    installed: Path, environ: dict[str, str]
) -> None:
    done = subprocess.run(
        [installed / "provenafs", "sandbox", "start"], env=environ, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "extra 'sandbox'" in done.stderr
    assert "pip install 'provenafs" not in done.stderr
