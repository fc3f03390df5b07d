"""The units for systemd: `systemd-analyze verify` accepts them, and they say the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running_sandbox import run_cli

_UNITS = Path(__file__).parent.parent / "systemd"
_COMMAND = Path(sys.executable).with_name("provenafs")
_AWKWARD = "a b%c$d\"e'é-f"


def _verify(*units: Path) -> None:
    """A user's units are verified as the system's: the user's manager may not be there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: install the package systemd")
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["system", "user"])
def test_the_units_are_accepted(kind: str, tmp_path: Path) -> None:
    for unit in (_UNITS / kind).iterdir():
        # The command is not where they will find it.
        text = re.sub(r"[^\s=]+/bin/provenafs", str(_COMMAND), unit.read_text())
        (tmp_path / unit.name).write_text(text)
    _verify(*tmp_path.iterdir())


def test_no_unit_hides_its_mount_or_disables_fusermount3() -> None:
    namespaces = "Protect|Private|ReadOnly|ReadWrite|Inaccessible|Temporary|Bind|DynamicUser"
    no_setuid = "NoNewPrivileges|SystemCall|RestrictA|RestrictN|LockPersonality|MemoryDeny"
    text = (_UNITS / "system/provenafs@.service").read_text()
    assert re.findall(rf"^(?:{namespaces}|{no_setuid})\w*=.*", text, re.MULTILINE) == []


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with a home and a profile of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROVENAFS_")}
    environ = clean | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    added = run_cli(
        environ, "profile", "add", "reef", "--domain", "example.org", "--realm", "x", "--no-check"
    )
    assert added.returncode == 0, added.stderr
    return environ


def test_a_unit_for_this_mount(home: dict[str, str], tmp_path: Path) -> None:
    mountpoint = tmp_path / _AWKWARD
    mountpoint.mkdir()
    done = run_cli(
        home, "mount", "--install-unit", "--profile", "reef", "--read-only", "--umask", "022",
        "--dataset", "1/2", "--dataset", "3/4", "--cache-dir", "c d",
        str(mountpoint),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (unit,) = (tmp_path / "config/systemd/user").iterdir()
    assert str(unit) in done.stdout
    assert f"enable --now '{unit.name}'" in done.stdout
    text = unit.read_text()
    for assignment in (
        "PROFILE=reef", "READ_ONLY=true", "UMASK=022", "DATASETS=1/2,3/4",
        f"CACHE_DIR={Path.cwd()}/c d",
    ):  # fmt: skip
        assert f'Environment="PROVENAFS_{assignment}"\n' in text
    _verify(unit)


def test_the_name_of_a_unit_is_that_of_systemd(home: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd-escape is missing: install the package systemd")
    mountpoint = tmp_path / _AWKWARD
    mountpoint.mkdir()
    run_cli(home, "mount", "--install-unit", "--profile", "reef", str(mountpoint))
    escaped = subprocess.run(
        ["systemd-escape", "--path", mountpoint], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert (tmp_path / "config/systemd/user" / f"provenafs-{escaped}.service").exists()


def test_a_unit_that_is_written_is_the_template_of_the_repository(
    home: dict[str, str], tmp_path: Path
) -> None:
    mountpoint = tmp_path / "reef"
    mountpoint.mkdir()
    run_cli(home, "mount", "--install-unit", "--profile", "reef", str(mountpoint))
    (unit,) = (tmp_path / "config/systemd/user").iterdir()
    own = {"ExecStart", "ExecStartPre", "ExecStopPost", "Description", "Environment"}
    template = _UNITS / "user/provenafs@.service"
    assert _assignments(unit, own) == _assignments(template, own)


def _assignments(unit: Path, without: set[str]) -> list[str]:
    lines = (line for line in unit.read_text().splitlines() if line and line[0] not in "#[")
    return [line for line in lines if line.partition("=")[0] not in without]


def test_a_mistake_writes_no_unit(home: dict[str, str], tmp_path: Path) -> None:
    done = run_cli(home, "mount", "--install-unit", "--profile", "rief", str(tmp_path))
    assert done.returncode == 2
    assert "there is no profile 'rief'" in done.stderr
    assert not (tmp_path / "config/systemd").exists()
