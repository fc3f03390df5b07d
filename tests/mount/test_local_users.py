"""A mount that other local users enter (--allow-other): the modes shown decide what they may."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.mounting import Drive, mounted
from tests.support.running_sandbox import RunningSandbox, run_cli

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="acts as several users")

OCEAN = "10378.1/1451860"
NOBODY, LAB = 65534, 4242

_Shared = Callable[..., Drive]


@pytest.fixture
def shared(sandbox: RunningSandbox) -> Iterator[_Shared]:
    """Mounts of alice that others may enter: `shared(*flags)`."""
    with ExitStack() as stack:

        def mount(*flags: str) -> Drive:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            home.chmod(0o755)
            return stack.enter_context(mounted(sandbox, "alice", home, "--allow-other", *flags))

        yield mount


def _as_other(command: str, *groups: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        user=NOBODY, group=NOBODY, extra_groups=groups,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def _refused(command: str, *groups: int, words: str = "Permission denied") -> bool:
    done = _as_other(command, *groups)
    return done.returncode != 0 and words in done.stderr


def test_others_read_and_change_nothing(shared: _Shared) -> None:
    drive = shared()
    data = drive.data(OCEAN)
    (data / "kept.txt").write_text("mine\n")
    listing = _as_other(
        f"ls {data} && cat {data}/kept.txt && cat {drive.dataset(OCEAN)}/metadata.json"
    )
    assert listing.returncode == 0
    assert "mine" in listing.stdout
    for command in (
        f"echo more >> {data}/kept.txt",
        f"echo other > {data}/kept.txt",
        f": > {data}/new.txt",
        f"mkdir {data}/folder",
        f"rm -f {data}/kept.txt",
        f"mv {data}/kept.txt {data}/moved.txt",
        f"truncate -s 0 {data}/kept.txt",
        f"touch {data}/kept.txt",
        f"echo '{{}}' > {drive.dataset(OCEAN)}/metadata.json",
        f"echo why > {drive.dataset(OCEAN)}/versions/create",
        f"cp {data}/kept.txt {drive.path}/mint/a.json",
    ):
        assert _refused(command), command
    assert _refused(f"chmod 666 {data}/kept.txt", words="not permitted")
    assert (data / "kept.txt").read_text() == "mine\n"
    assert sorted(os.listdir(drive.path / "mint"))[0] == "last-error.txt"


def test_what_acts_in_the_name_of_the_mounter_is_theirs(shared: _Shared) -> None:
    drive = shared()
    file = next(path for path in drive.data(OCEAN).rglob("*") if path.is_file())
    link = f"getfattr --only-values -n user.provena.share_url {file}"
    assert _refused(link)
    assert subprocess.run(["sh", "-c", link], check=False, capture_output=True).returncode == 0
    draft = drive.path / "mint/draft.json"
    draft.touch()
    (drive.path / "mint/template.json").read_bytes()  # the kernel knows the names from here on
    for command in (
        f"ls {drive.path}/mint",
        f"cat {drive.path}/mint/template.json",
        f"cat {draft}",
        f"setfattr -n user.provena.reason -v because {drive.dataset(OCEAN)}/metadata.json",
    ):
        assert _refused(command), command


def test_a_mode_that_is_the_owners_only(shared: _Shared) -> None:
    drive = shared()
    file = drive.data(OCEAN) / "own.txt"
    file.write_text("secret\n")
    file.chmod(0o600)
    assert file.read_text() == "secret\n"
    assert _refused(f"cat {file}")


def test_a_group_that_writes(shared: _Shared) -> None:
    drive = shared("--gid", str(LAB), "--umask", "007")
    data = drive.data(OCEAN)
    (data / "kept.txt").write_text("mine\n")
    assert (data / "kept.txt").stat().st_gid == LAB
    assert oct((data / "kept.txt").stat().st_mode)[-3:] == "660"
    assert _refused(f"cat {data}/kept.txt")
    done = _as_other(
        f"echo ours >> {data}/kept.txt && mkdir {data}/d && mv {data}/kept.txt {data}/d/", LAB
    )
    assert done.returncode == 0, done.stderr
    assert (data / "d/kept.txt").read_text() == "mine\nours\n"
    assert _refused(f"ls {drive.path}/mint", LAB)
    assert _refused(f"chmod 666 {data}/d/kept.txt", LAB, words="not permitted")


def test_another_owner(shared: _Shared) -> None:
    drive = shared("--uid", "nobody")
    file = drive.data(OCEAN) / "theirs.txt"
    done = _as_other(f"echo one > {file} && chmod 640 {file} && stat -c '%U %a' {file}")
    assert (done.returncode, done.stdout) == (0, "nobody 640\n"), done.stderr


def test_a_mask_without_other_users(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    for flags, words in (
        (("--umask", "002"), "--allow-other"),
        (("--allow-other", "--umask", "rw"), "octal"),
        (("--allow-other", "--gid", "no-such-group"), "no-such-group"),
    ):
        done = run_cli(
            sandbox.env("alice"),
            "mount", "--cache-dir", str(tmp_path / "c"), "--state-dir", str(tmp_path / "s"),
            *flags, str(tmp_path / "mount"),
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
