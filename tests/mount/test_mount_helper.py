"""`mount -t provenafs` and lines of /etc/fstab, by way of mount(8)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from provenafs.cli.mount_helper import settings_of
from provenafs.config import ConfigError
from tests.support.mounting import has_ended, is_mounted, wait_for_end
from tests.support.running_sandbox import RunningSandbox

_COMMAND = Path(sys.executable).with_name("mount.provenafs")
# The only place where mount(8) looks.
_LINK = Path("/sbin/mount.provenafs")

DATASETS = ("10378.1/1451860", "10378.1/1451870")


@pytest.fixture(scope="module")
def helper() -> Iterator[None]:
    """The helper where mount(8) finds it."""
    if os.geteuid() != 0:
        pytest.skip("only root may install the helper, and mount what is not in /etc/fstab")
    try:
        _LINK.symlink_to(_COMMAND)
    except FileExistsError:
        pytest.skip(f"there is a {_LINK} already")
    yield
    _LINK.unlink()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test mounts, and the environment to do it in."""

    path: Path
    environ: dict[str, str]
    folders: str
    """The options that keep state and cache in the test's own folder."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def place(helper: None, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Place]:
    path = tmp_path / "mount"
    path.mkdir()
    folders = f"cache_dir={tmp_path}/cache,state_dir={tmp_path}/state"
    yield Place(path, sandbox.env("alice"), folders)
    if is_mounted(path):
        pid = _status(path)["pid"]
        subprocess.run(["umount", "-l", str(path)], check=False)
        assert isinstance(pid, int)
        wait_for_end(pid)


def _status(path: Path) -> dict[str, object]:
    status: dict[str, object] = json.loads((path / ".provenafs/status.json").read_bytes())
    return status


def _line(path: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    (found,) = [line.split() for line in lines if line.split()[1] == str(path)]
    return found


def test_mount_finds_the_helper_and_passes_options_on(place: Place) -> None:
    datasets = ",".join(f"datasets={handle}" for handle in DATASETS)
    done = place.run(
        "mount", "-t", "provenafs", "provena:sandbox", str(place.path),
        "-o", f"ro,noexec,umask=077,allow_other,ttl=7,{datasets},{place.folders}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = {name for name in os.listdir(place.path) if name[0].isdigit()}
    assert shown == {handle.replace("/", "-") for handle in DATASETS}
    assert _status(place.path)["read_only"]
    assert place.path.stat().st_mode & 0o777 == 0o500
    source, _, filesystem_type, flags = _line(place.path)[:4]
    assert (source, filesystem_type) == ("provena:sandbox", "fuse.provenafs")
    assert {"ro", "noexec", "nosuid", "nodev", "allow_other"} <= set(flags.split(","))


def test_a_line_of_fstab_mounts_once_and_unmounts(place: Place, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    options = f"_netdev,nofail,x-systemd.automount,user,exec,noatime,{place.folders}"
    table.write_text(f"provena:sandbox {place.path} provenafs {options} 0 0\n")
    for _ in range(2):
        done = place.run("mount", "-a", "-T", str(table))
        assert done.returncode == 0, done.stderr
    assert "noexec" not in _line(place.path)[3]
    pid = _status(place.path)["pid"]
    assert isinstance(pid, int)
    written = place.path / DATASETS[0].replace("/", "-") / "data/from-fstab.txt"
    written.write_text("kept\n")
    written.unlink()
    assert place.run("umount", str(place.path)).returncode == 0
    wait_for_end(pid)
    assert has_ended(pid)


def test_by_its_mount_point_alone(place: Place, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text(f"sandbox {place.path} provenafs noauto,{place.folders} 0 0\n")
    done = place.run("mount", "-T", str(table), str(place.path))
    assert done.returncode == 0, done.stderr
    assert "by-name" in os.listdir(place.path)


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("sandbox", "alow_other", "unknown mount option 'alow_other': did you mean allow_other?"),
        ("sandbox", "token=secret", "use token_file"),
        ("sandbox", "ttl=soon", "ttl"),
        ("provena:nowhere", "ro", "there is no profile 'nowhere'"),
    ],
)
def test_what_cannot_be_mounted_is_said(
    place: Place, source: str, options: str, sentence: str
) -> None:
    done = place.run("mount", "-t", "provenafs", source, str(place.path), "-o", options)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not is_mounted(place.path)


def test_fake_checks_and_mounts_nothing(place: Place) -> None:
    arguments = ("-t", "provenafs", "sandbox", str(place.path))
    assert place.run("mount", "-f", *arguments, "-o", place.folders).returncode == 0
    assert not is_mounted(place.path)


def test_options_of_the_system_set_nothing() -> None:
    options = "rw,_netdev,noauto,user,users,nofail,x-systemd.automount,X-mount.mkdir,noatime,nodev"
    assert settings_of(options) == {}


def test_values_are_taken_as_they_are() -> None:
    assert settings_of("ro,cache_size=1GiB,writeback,reason=a=b,datasets=1/2,datasets=3/4") == {
        "read_only": "true", "cache_size": "1GiB", "writeback": "true", "reason": "a=b",
        "datasets": "1/2,3/4",
    }  # fmt: skip


def test_sloppy_passes_over_what_is_unknown() -> None:
    assert settings_of("acl,ttl=5", is_sloppy=True) == {"ttl": "5"}
    with pytest.raises(ConfigError, match="unknown mount option 'acl'"):
        settings_of("acl,ttl=5")
