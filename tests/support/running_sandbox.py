"""A sandbox in a process of its own, and what tests want to know of it and do with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx

from provenafs.sandbox.gateway import BUCKET, REGION
from provenafs.sandbox.login import exports, long_lived_token
from provenafs.sandbox.process import clean_environment, owned_sandbox
from provenafs.sandbox.state import Running, StateFolder


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """The sandbox of a test session. Its samples are for reading: to change one, mint your own."""

    state: StateFolder
    running: Running
    environ: dict[str, str] = field(repr=False)
    """For processes of the test: its own XDG directories, hence the profile `sandbox`."""
    manifest: dict[str, dict[str, dict[str, Any]]] = field(repr=False)
    """By handle and path in the dataset: `size` in bytes and `sha256`."""

    @property
    def bucket(self) -> str:
        return BUCKET

    @property
    def s3_endpoint(self) -> str:
        return self.running.s3_endpoint

    def env(self, user: str) -> dict[str, str]:
        """A whole environment in which a process is this user, whatever the profile says."""
        return self.environ | exports(self.state, self.running, user)

    def token(self, user: str) -> str:
        """An access token of a user, good for a day."""
        return long_lived_token(self.state, user)

    def cli(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `provenafs` with these arguments."""
        return run_cli(self.environ, *arguments, timeout=timeout)

    def s3(self) -> Any:
        """A boto3 client that may do everything: somebody at work behind a mount's back."""
        keys = self.state.keys()
        return self.s3_with(keys["service_user"], keys["service_secret"])

    def s3_as(self, user: str, handle: str, access: str = "read") -> Any:
        """A boto3 client with the keys that a user gets for a dataset; `access` read or write."""
        return self.s3_with(*self.keys(user, handle, access))

    def s3_with(self, key_id: str, secret: str, token: str | None = None) -> Any:
        """A boto3 client with these keys."""
        return boto3.client(
            "s3",
            endpoint_url=self.s3_endpoint,
            region_name=REGION,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token=token,
        )

    def keys(self, user: str, handle: str, access: str = "read") -> tuple[str, str, str]:
        """The key id, secret and session token that a user gets; `access` is read or write."""
        answer = self.ask_for_keys(user, handle, access).raise_for_status()
        keys = answer.json()["credentials"]
        return keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["aws_session_token"]

    def ask_for_keys(self, user: str, handle: str, access: str) -> httpx.Response:
        """What the data store answers to a user who wants keys; `access` is read or write."""
        return self.api(
            user,
            "POST",
            f"{self.running.datastore}/registry/credentials/generate-{access}-access-credentials",
            json={"dataset_id": handle, "console_session_required": False},
        )

    def api(self, user: str, method: str, url: str, **arguments: Any) -> httpx.Response:
        """One request to a service as a user."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.request(method, url, headers=headers, **arguments)

    def item(self, handle: str, user: str = "admin") -> dict[str, Any]:
        """The record of a dataset."""
        url = f"{self.running.datastore}/registry/items/fetch-dataset"
        answer = self.api(user, "GET", url, params={"handle_id": handle})
        item: dict[str, Any] = answer.raise_for_status().json()["item"]
        return item

    def prefix(self, handle: str) -> str:
        """Where a dataset's objects are in the bucket, with a slash at the end."""
        return "datasets/" + handle.replace(".", "-").replace("/", "-") + "/"

    def mint(self, user: str, name: str, **info: Any) -> str:
        """A new dataset of a user, with further fields of dataset_info; its handle."""
        document = self.item("10378.1/1451870")["collection_format"]
        document["dataset_info"] |= {"name": name, **info}
        url = f"{self.running.datastore}/register/mint-dataset"
        answer = self.api(user, "POST", url, json=document).raise_for_status().json()
        assert answer["status"]["success"], answer["status"]["details"]
        handle: str = answer["handle"]
        return handle


def run_cli(
    environ: dict[str, str], *arguments: str, timeout: float = 60, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Run `provenafs` to its end; what it printed is text."""
    return subprocess.run(
        [Path(sys.executable).parent / "provenafs", *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def running_sandbox(home: Path) -> Iterator[RunningSandbox]:
    """A strict sandbox with all that it and its users keep in `home`; it ends with the tests."""
    environ = clean_environment(home)
    with owned_sandbox(home, environ, is_strict=True) as (state, running):
        yield RunningSandbox(state, running, environ, state.files())
