"""What closing descriptors costs in requests, and what another client sees meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.faultproxy import FaultProxy, Request, fault_proxy
from tests.support.mounting import Drive, mounted
from tests.support.running_sandbox import RunningSandbox

# In scripts, `look` (in Python: look()) notes what another client reads of the file `f`.
_ASK, _ANSWER = 198, 199
_SHELL = f"set -e\nlook() {{ /bin/echo >&{_ASK}; /usr/bin/head -c 1 <&{_ANSWER} >/dev/null; }}\n"
_PYTHON = f"""
import mmap, os
def look():
    os.write({_ASK}, b"?")
    os.read({_ANSWER}, 1)
"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A script that changes `f`; what is seen at each look and at the end, and what it may cost."""

    name: str
    script: str
    seen: tuple[bytes | None, ...]
    puts: int
    copies: int = 0
    before: bytes | None = None

    @property
    def command(self) -> list[str]:
        if self.script.startswith("\n"):
            return [sys.executable, "-c", _PYTHON + self.script]
        return ["bash", "-c", _SHELL + self.script]


_PATTERNS = [
    Pattern("redirection", "cat ../../source > f", (b"source\n",), puts=1),
    Pattern(
        "redirection of a builtin",
        "{ echo a; look; echo b; look; } > f",
        # look is a process with the same descriptors: its end is a close of each.
        (b"a\n", b"a\nb\n", b"a\nb\n"),
        puts=2,
    ),
    Pattern(
        "group of commands",
        "{ /bin/echo a; /bin/echo b; /bin/echo c; } > f",
        (b"a\nb\nc\n",),
        puts=3,
    ),
    Pattern(
        "emptied, then written",
        "{ look; /bin/echo new; look; } > f",
        (b"old", b"new\n", b"new\n"),
        puts=1,
        before=b"old",
    ),
    Pattern(
        "dup2",
        """
f = os.open("f", os.O_WRONLY | os.O_CREAT)
os.dup2(f, 100)
os.write(f, b"a")
look()
os.close(100)
look()
os.write(f, b"b")
os.close(f)
""",
        (None, b"a", b"ab"),
        puts=2,
    ),
    Pattern(
        "fork",
        """
f = os.open("f", os.O_WRONLY | os.O_CREAT)
os.write(f, b"a")
if os.fork() == 0:
    os.write(f, b"b")
    os._exit(0)
os.wait()
look()
os.write(f, b"c")
look()
os.close(f)
""",
        (b"ab", b"ab", b"abc"),
        puts=2,
    ),
    Pattern(
        "exec loop",
        "exec 3> f; for i in 1 2 3; do /bin/echo $i >&3; look; done; exec 3>&-",
        (b"1\n", b"1\n2\n", b"1\n2\n3\n", b"1\n2\n3\n"),
        puts=3,
    ),
    Pattern("tee", "/bin/echo a | tee f >/dev/null", (b"a\n",), puts=1),
    Pattern(
        "append loop",
        "for i in 1 2 3; do echo $i >> f; look; done",
        (b"1\n", b"1\n2\n", b"1\n2\n3\n", b"1\n2\n3\n"),
        puts=3,
    ),
    Pattern(
        "Python",
        """
with open("f", "w") as file:
    look()
    file.write("a" * 100_000)
    look()
""",
        (None, None, b"a" * 100_000),
        puts=1,
    ),
    Pattern(
        "fsync in the middle",
        """
f = os.open("f", os.O_WRONLY | os.O_CREAT)
os.fsync(f)
look()
os.write(f, b"a")
os.fsync(f)
os.fsync(f)
look()
os.write(f, b"b")
os.close(f)
""",
        (b"", b"a", b"ab"),
        puts=3,
    ),
    Pattern(
        "mmap with msync",
        """
f = os.open("f", os.O_RDWR)
mapped = mmap.mmap(f, 3)
mapped[0:1] = b"O"
mapped.flush()
look()
mapped.close()
os.close(f)
""",
        (b"Old", b"Old"),
        puts=1,
        before=b"old",
    ),
    Pattern(
        "mmap without msync",
        """
f = os.open("f", os.O_RDWR)
mapped = mmap.mmap(f, 3)
os.close(f)
mapped[0:1] = b"O"
look()
mapped.close()
""",
        (b"old", b"Old"),
        puts=1,
        before=b"old",
    ),
    Pattern("touch", "touch f", (b"",), puts=1),
    Pattern("emptied", ": > f", (b"",), puts=1, before=b"old"),
    Pattern("truncate", "truncate -s 2 f", (b"ol",), puts=1, before=b"old"),
    Pattern("cp over", "cp ../../source f", (b"source\n",), puts=1, before=b"old"),
    # The name of sed's new file is random: rarely it is not known for what it is, and is copied.
    Pattern("sed -i", "sed -i s/old/new/ f", (b"new",), puts=1, copies=1, before=b"old"),
    Pattern("rsync", "rsync ../../source f", (b"source\n",), puts=1, copies=1, before=b"old"),
    Pattern(
        "vim",
        "vim -es -u NONE -c 's/old/new/' -c wq f",
        (b"new\n",),
        puts=1,
        before=b"old\n",
    ),
]


@pytest.fixture(scope="module")
def s3(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    with fault_proxy(sandbox.s3_endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def counted(sandbox: RunningSandbox, shared_folder: Path, s3: FaultProxy) -> Iterator[Drive]:
    """A mount of alice whose requests are counted."""
    home = shared_folder / "counted"
    with mounted(sandbox, "alice", home, "--s3-endpoint", s3.address) as drive:
        yield drive


@pytest.mark.parametrize("pattern", _PATTERNS, ids=lambda pattern: pattern.name)
def test_a_pattern_costs_what_it_must(
    sandbox: RunningSandbox, counted: Drive, s3: FaultProxy, handle: str, pattern: Pattern,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "source").write_bytes(b"source\n")
    data = counted.data(handle)
    theirs = _OtherClient(sandbox, handle)
    if pattern.before is not None:
        theirs.put(pattern.before)
    begun = len(s3.requests)
    script = pattern.script.replace("../../source", str(tmp_path / "source"))
    seen = _run(Pattern(pattern.name, script, (), 0).command, data, theirs)
    theirs.wait_for(pattern.seen[-1])
    requests = [one for one in s3.requests[begun:] if not one.path.endswith("/")]
    assert (*seen, theirs.get()) == pattern.seen
    assert sum(map(_is_put, requests)) == pattern.puts
    assert sum(map(_is_copy, requests)) <= pattern.copies


class _OtherClient:
    """What is in the bucket, without the mount."""

    def __init__(self, sandbox: RunningSandbox, handle: str) -> None:
        self._s3 = sandbox.s3()
        self._where = {"Bucket": sandbox.bucket, "Key": sandbox.prefix(handle) + "f"}

    def put(self, body: bytes) -> None:
        self._s3.put_object(**self._where, Body=body)

    def get(self) -> bytes | None:
        try:
            body: bytes = self._s3.get_object(**self._where)["Body"].read()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"
            return None
        return body

    def wait_for(self, body: bytes | None) -> None:
        """What no close has stored is stored by RELEASE, which nobody waits for."""
        deadline = time.monotonic() + 10
        while self.get() != body and time.monotonic() < deadline:
            time.sleep(0.05)


def _run(command: list[str], folder: Path, theirs: _OtherClient) -> list[bytes | None]:
    """Run a script in `folder`; what another client read of `f` at each look."""
    seen: list[bytes | None] = []
    asked, ask = os.pipe()
    answer, answered = os.pipe()

    def answer_looks() -> None:
        while os.read(asked, 1):
            seen.append(theirs.get())
            os.write(answered, b"!")

    watcher = threading.Thread(target=answer_looks)
    watcher.start()
    wrapper = f'exec "$@" {_ASK}>&{ask} {_ANSWER}<&{answer}'
    try:
        done = subprocess.run(
            ["bash", "-c", wrapper, "bash", *command], cwd=folder, pass_fds=(ask, answer),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ask)
        watcher.join()
        for descriptor in (asked, answer, answered):
            os.close(descriptor)
    assert done.returncode == 0, done.stderr
    return seen


def _is_put(request: Request) -> bool:
    return request.method == "PUT" and "x-amz-copy-source" not in request.headers


def _is_copy(request: Request) -> bool:
    return request.method == "PUT" and "x-amz-copy-source" in request.headers
