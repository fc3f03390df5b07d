"""Programs that follow a file which grows through another mount."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.mounting import Drive, MountAs


def test_tail_follows_what_another_mount_appends(
    mount_as: MountAs, writer: Drive, handle: str
) -> None:
    log = writer.data(handle) / "log"
    log.write_text("0\n")
    followed = mount_as("alice", "--ttl", "0.2").data(handle) / "log"
    command: list[str | Path] = [
        "timeout",
        "60",
        "tail",
        "-F",
        "-s",
        "0.1",
        "--max-unchanged-stats=1",
        followed,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as tail:
        try:
            assert tail.stdout is not None
            assert tail.stdout.readline() == b"0\n"
            for number in range(1, 10):
                with log.open("a") as file:
                    file.write(f"{number}\n")
                if number % 3 == 0:  # some come alone, some together
                    for expected in range(number - 2, number + 1):
                        assert tail.stdout.readline() == f"{expected}\n".encode()
        finally:
            tail.terminate()
