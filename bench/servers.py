"""A sandbox of the benchmark's own, one dataset of alice's in it, and the objects put there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from minio import Minio
from minio.commonconfig import SnowballObject

from provenafs.sandbox.gateway import BUCKET, REGION
from provenafs.sandbox.login import exports, long_lived_token
from provenafs.sandbox.state import Running, StateFolder

USER = "alice"
_SAMPLE = "10378.1/1451870"
_START_WITHIN_S = 300
_STOP_WITHIN_S = 30
_SMALL_BYTES = 1024 * 1024
_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_FILES = 1000
_POLL_S = 0.02
_OURS = ("PROVENAFS_", "AWS_", "RCLONE_", "AWSACCESS", "AWSSECRET", "AWSSESSION")


class BenchError(Exception):
    """What keeps the benchmark from running, in one sentence."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Temporary keys of the dataset; the secrets stay out of the repr."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(repr=False)

    def exports(self) -> dict[str, str]:
        """The environment variables that programs look for."""
        return {
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.token,
        }


@dataclass(frozen=True, slots=True)
class Site:
    """A running sandbox and the dataset that everything is measured in."""

    home: Path
    state: StateFolder
    running: Running
    environ: dict[str, str] = field(repr=False)
    handle: str

    @property
    def endpoint(self) -> str:
        """Where S3 answers without delay."""
        return self.running.s3_endpoint

    @property
    def prefix(self) -> str:
        """Where the dataset's objects are in the bucket, with a slash at the end."""
        return "datasets/" + self.handle.replace(".", "-").replace("/", "-") + "/"

    def user_environ(self) -> dict[str, str]:
        """The environment in which a process of ours is alice."""
        return self.environ | exports(self.state, self.running, USER)

    def keys(self, access: str = "read") -> Keys:
        """Fresh temporary keys; `access` is read or write."""
        path = f"/registry/credentials/generate-{access}-access-credentials"
        body = {"dataset_id": self.handle, "console_session_required": False}
        issued = _api(self.state, "POST", self.running.datastore + path, json=body)["credentials"]
        return Keys(
            issued["aws_access_key_id"],
            issued["aws_secret_access_key"],
            issued["aws_session_token"],
        )

    def s3(self, endpoint: str, access: str = "read") -> Any:
        """A boto3 client with temporary keys of the dataset."""
        keys = self.keys(access)
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=keys.key_id,
            aws_secret_access_key=keys.secret,
            aws_session_token=keys.token,
            config=Config(max_pool_connections=32, s3={"addressing_style": "path"}),
        )

    def upload(self, folder: Path, name: str) -> None:
        """Store a local folder's files below `name/` of the dataset, at no delay."""
        s3 = self.s3(self.endpoint, "write")
        small: list[tuple[str, Path]] = []
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                continue
            key = f"{self.prefix}{name}/{path.relative_to(folder)}"
            if path.stat().st_size > _SMALL_BYTES:
                s3.upload_file(str(path), BUCKET, key)
            else:
                small.append((key, path))
        if small:
            self._upload_small(small)

    def remove(self, name: str) -> None:
        """Remove all objects below `name/`."""
        s3 = self.s3(self.endpoint, "write")
        for key in self.stored(name):
            s3.delete_object(Bucket=BUCKET, Key=f"{self.prefix}{name}/{key}")

    def stored(self, name: str) -> dict[str, int]:
        """The files below `name/`, by path, and their sizes in bytes."""
        prefix = f"{self.prefix}{name}/"
        pages = self.s3(self.endpoint).get_paginator("list_objects_v2")
        return {
            item["Key"].removeprefix(prefix): item["Size"]
            for page in pages.paginate(Bucket=BUCKET, Prefix=prefix)
            for item in page.get("Contents", ())
            if not item["Key"].endswith("/")
        }

    def _upload_small(self, files: Sequence[tuple[str, Path]]) -> None:
        """In packs that the server takes apart, which it does only for its own account."""
        keys = self.state.keys()
        client = Minio(
            endpoint=self.endpoint.removeprefix("http://"),
            access_key=keys["service_user"],
            secret_key=keys["service_secret"],
            secure=False,
            region=REGION,
        )
        for start in range(0, len(files), _batch(files)):
            pack = [
                SnowballObject(
                    object_name=key, data=io.BytesIO(data := path.read_bytes()), length=len(data)
                )
                for key, path in files[start : start + _batch(files)]
            ]
            client.upload_snowball_objects(bucket_name=BUCKET, object_list=pack)


@contextmanager
def running_site(home: Path) -> Iterator[Site]:
    """A sandbox with everything it keeps in `home`, and a new dataset; ended afterwards."""
    environ = _clean_environment(home)
    state = StateFolder(home / "sandbox")
    log = home / "sandbox.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "TERM"),
                *(Path(sys.executable).parent / "provenafs", "sandbox", "start"),
            ],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        running = _ready(process, state, log)
        yield Site(home, state, running, environ, _mint(state, running))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _batch(files: Sequence[tuple[str, Path]]) -> int:
    largest = max(path.stat().st_size for _, path in files)
    return max(1, min(_BATCH_FILES, _BATCH_BYTES // max(largest, 1)))


def _clean_environment(home: Path) -> dict[str, str]:
    """Ours without settings for us, AWS or a peer, and XDG directories in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PROVENAFS_SANDBOX_STATE": str(home / "sandbox"),
    }


def _ready(process: subprocess.Popen[bytes], state: StateFolder, log: Path) -> Running:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        running = state.running()
        if running is not None:
            return running
        time.sleep(_POLL_S)
    raise BenchError(f"The sandbox did not start:\n{log.read_text()}")


def _mint(state: StateFolder, running: Running) -> str:
    url = f"{running.datastore}/registry/items/fetch-dataset"
    item = _api(state, "GET", url, params={"handle_id": _SAMPLE})["item"]
    document = item["collection_format"]
    document["dataset_info"]["name"] = "Benchmark"
    answer = _api(state, "POST", f"{running.datastore}/register/mint-dataset", json=document)
    if not answer["status"]["success"]:
        raise BenchError(f"The dataset was not minted: {answer['status']['details']}")
    return str(answer["handle"])


def _api(state: StateFolder, method: str, url: str, **arguments: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {long_lived_token(state, USER)}"}
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.request(method, url, headers=headers, **arguments).raise_for_status()
    document: dict[str, Any] = answer.json()
    return document
