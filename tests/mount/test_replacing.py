"""Programs that have a file open or mapped while others replace it through the same mount."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mounting import Drive
from tests.support.running_sandbox import RunningSandbox

OLD = random.Random(1).randbytes(4 * 1024 * 1024 + 5)

# Maps a file, says so, and reads all of it once told to: SIGBUS where a page cannot be had.
_READER = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
print("mapped", flush=True)
sys.stdin.readline()
sys.stdout.buffer.write(bytes(mapped))
"""


@pytest.mark.parametrize("replace", ["echo new > g && mv g f", "rm f && echo new > f"])
def test_a_mapped_file_is_what_it_was_when_it_is_replaced(
    sandbox: RunningSandbox, writer: Drive, handle: str, replace: str
) -> None:
    key = sandbox.prefix(handle) + "f"  # nothing of it is cached here
    sandbox.s3().put_object(Bucket=sandbox.bucket, Key=key, Body=OLD)
    data = writer.data(handle)
    command: list[str | Path] = [sys.executable, "-c", _READER, data / "f"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"mapped\n"
        subprocess.run(["bash", "-c", replace], cwd=data, check=True, timeout=60)
        assert reader.communicate(b"\n", timeout=60)[0] == OLD
    assert reader.returncode == 0
    assert (data / "f").read_text() == "new\n"
    assert f"{key} was changed" not in writer.log
