"""The xattr `user.provena.share_url`: a link for anybody, made only for who asks by name."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support.faultproxy import FaultProxy, answer, fault_proxy
from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox

PENGUINS = "10378.1/1451870"
TABLES = "10378.1/1451880"
NAME = "user.provena.share_url"


@pytest.fixture
def proxy(sandbox: RunningSandbox) -> Iterator[FaultProxy]:
    """The sandbox's data store, through a proxy."""
    with fault_proxy(_host(sandbox)) as proxy:
        yield proxy


@pytest.fixture
def drive(sandbox: RunningSandbox, proxy: FaultProxy, mount_as: MountAs) -> Drive:
    """A mount of alice that reaches the data store through the proxy."""
    return mount_as("alice", services=(_host(sandbox), proxy.address))


def _host(sandbox: RunningSandbox) -> str:
    return sandbox.running.datastore.removesuffix("/data-store")


def _links_made(proxy: FaultProxy) -> int:
    return proxy.count(lambda request: request.path.endswith("generate-presigned-url"))


def _download(url: str) -> bytes:
    with httpx.Client(trust_env=False) as client:
        return client.get(url).raise_for_status().content


def test_the_link_downloads_the_file(drive: Drive, proxy: FaultProxy) -> None:
    files = [path for path in drive.data(TABLES).rglob("*") if path.is_file()]
    assert len(files) > 2
    for path in files:
        done = subprocess.run(
            ["getfattr", "--absolute-names", "--only-values", "-n", NAME, path],
            capture_output=True,
            check=True,
        )
        assert _download(done.stdout.decode()) == path.read_bytes()
    # Twice for each: the length, then the link.
    assert _links_made(proxy) == len(files)


def test_the_link_is_good_for_three_hours(drive: Drive) -> None:
    path = drive.data(PENGUINS) / "penguins.csv"
    query = parse_qs(urlsplit(os.getxattr(path, NAME).decode()).query)
    if "Expires" in query:
        seconds = int(query["Expires"][0]) - time.time()
    else:
        seconds = int(query["X-Amz-Expires"][0])
    assert 3 * 3600 - 120 < seconds <= 3 * 3600


def test_nobody_is_told_who_does_not_ask_by_name(
    drive: Drive, proxy: FaultProxy, tmp_path: Path
) -> None:
    data = drive.data(PENGUINS)
    assert os.listxattr(data / "penguins.csv") == []
    assert os.getxattr(data / "penguins.csv", "user.provena.etag")
    subprocess.run(["cp", "-a", data, tmp_path / "copied"], check=True)
    synced = subprocess.run(["rsync", "-aX", f"{data}/", tmp_path / "synced"], check=False)
    assert synced.returncode in (0, 23)  # not every disk of a test can hold attributes
    assert _links_made(proxy) == 0


def test_the_log_does_not_know_the_link(drive: Drive) -> None:
    url = os.getxattr(drive.data(PENGUINS) / "penguins.csv", NAME).decode()
    signature = next(part for part in url.split("&") if "ignature=" in part).split("=", 1)[1]
    assert signature not in drive.log


@pytest.mark.parametrize("where", ["data", "data/sub", "metadata.json", ".", ".provena"])
def test_only_files_of_the_dataset_have_one(writer: Drive, handle: str, where: str) -> None:
    (writer.data(handle) / "sub").mkdir()
    with pytest.raises(OSError) as refused:
        os.getxattr(writer.dataset(handle) / where, NAME)
    assert refused.value.errno == errno.ENODATA


def test_what_is_refused(writer: Drive, handle: str) -> None:
    path = writer.data(handle) / "report..final.csv"
    path.write_text("1\n")
    with pytest.raises(OSError) as refused:
        os.getxattr(path, NAME)
    assert refused.value.errno == errno.EINVAL
    told = (writer.dataset(handle) / ".provena/last-error.txt").read_text()
    assert "'..' which is not allowed" in told
    with pytest.raises(PermissionError):
        os.setxattr(path, NAME, b"x")
    with (writer.data(handle) / "new").open("wb") as file:
        file.write(b"not stored yet")
        with pytest.raises(OSError) as refused:
            os.getxattr(file.fileno(), NAME)
        assert refused.value.errno == errno.ENOENT
    assert _download(os.getxattr(writer.data(handle) / "new", NAME).decode()) == b"not stored yet"


def test_no_answer_is_eio(drive: Drive, proxy: FaultProxy) -> None:
    path = drive.data(PENGUINS) / "penguins.csv"
    path.read_bytes()
    failure = answer("500 Internal Server Error", b"no", "text/plain")
    proxy.fail(lambda request: request.path.endswith("generate-presigned-url"), failure)
    with pytest.raises(OSError) as refused:
        os.getxattr(path, NAME)
    assert refused.value.errno == errno.EIO
