"""The examples of docs/semantics.md, run on mounts as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.moto_bucket import make_bucket, moto
from tests.support.mounting import Drive, mounted
from tests.support.running_sandbox import RunningSandbox

_DOCUMENT = Path(__file__).parents[2] / "docs" / "semantics.md"
_BLOCK = re.compile(r"^```console *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "\x01"
# Another client of the bucket, as commands of the examples.
_BUCKET = """#!{python}
import os, sys
sys.path.insert(0, {root!r})
from tests.support.moto_bucket import client
s3 = client({address!r})
where = {{"Bucket": {bucket!r}, "Key": os.environ["PREFIX"] + sys.argv[1]}}
if os.path.basename(sys.argv[0]) == "bucket-put":
    metadata = dict(word.split("=") for word in sys.argv[3:])
    s3.put_object(**where, Body=sys.argv[2].encode() + b"\\n", Metadata=metadata)
    sys.exit()
if os.path.basename(sys.argv[0]) == "bucket-metadata":
    print(s3.head_object(**where)["Metadata"].get(sys.argv[2]))
    sys.exit()
try:
    sys.stdout.write(s3.get_object(**where)["Body"].read().decode())
except s3.exceptions.NoSuchKey:
    sys.exit(f"bucket: {{sys.argv[1]}}: no such object")
"""


@dataclass(frozen=True, slots=True)
class Example:
    """Commands with what they print, on a mount with these flags."""

    flags: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]


def _examples() -> Iterator[Example]:
    for flags, text in _BLOCK.findall(_DOCUMENT.read_text()):
        steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
        yield Example(tuple(flags.split()), tuple(steps))


@pytest.fixture(scope="module")
def moto_server(sandbox: RunningSandbox) -> Iterator[str]:
    with moto() as address:
        make_bucket(address, sandbox.bucket)
        yield address


@pytest.fixture(scope="module")
def commands(sandbox: RunningSandbox, moto_server: str, shared_folder: Path) -> Path:
    """A folder with `bucket`, `bucket-put` and `bucket-metadata`."""
    folder = shared_folder / "commands"
    folder.mkdir()
    root = str(_DOCUMENT.parents[1])
    text = _BUCKET.format(
        python=sys.executable, root=root, address=moto_server, bucket=sandbox.bucket
    )
    for name in ("bucket", "bucket-put", "bucket-metadata"):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def drive_with(
    sandbox: RunningSandbox, moto_server: str, shared_folder: Path
) -> Iterator[Callable[[tuple[str, ...]], Drive]]:
    """A mount with these flags, the same for all examples that have them."""
    drives: dict[tuple[str, ...], Drive] = {}
    with ExitStack() as stack:

        def drive(flags: tuple[str, ...]) -> Drive:
            if flags not in drives:
                home = shared_folder / f"semantics{len(drives)}"
                all_flags = ("--s3-endpoint", moto_server, *flags)
                drives[flags] = stack.enter_context(mounted(sandbox, "alice", home, *all_flags))
            return drives[flags]

        yield drive


@pytest.mark.parametrize("example", list(_examples()), ids=lambda example: example.steps[0][0][:30])
def test_an_example_does_what_it_says(
    sandbox: RunningSandbox,
    drive_with: Callable[[tuple[str, ...]], Drive],
    commands: Path,
    moto_server: str,
    handle: str,
    tmp_path: Path,
    example: Example,
) -> None:
    drive = drive_with(example.flags)
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = drive.environ | {
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "PATH": path,
        "PREFIX": sandbox.prefix(handle),
        "PROVENAFS_S3_ENDPOINT": moto_server,
        "PROVENAFS_STATE_DIR": str(drive.home / "state"),
    }
    script = "".join(f"{command}\nprintf '{_END}'\n" for command, _ in example.steps)
    done = subprocess.run(
        ["bash"], cwd=drive.data(handle), env=environ, input=script, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    printed = re.sub(r"^bash: line \d+: ", "bash: ", done.stdout, flags=re.MULTILINE)
    steps = zip((command for command, _ in example.steps), printed.split(_END)[:-1], strict=True)
    assert tuple(steps) == example.steps
