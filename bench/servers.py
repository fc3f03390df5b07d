"""A sandbox of the benchmark's own and one dataset of alice's in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from provenafs.sandbox.login import exports, long_lived_token
from provenafs.sandbox.process import clean_environment, owned_sandbox
from provenafs.sandbox.state import Running, StateFolder

USER = "alice"
_SAMPLE = "10378.1/1451870"


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


@contextmanager
def running_site(home: Path) -> Iterator[Site]:
    """A sandbox with everything it keeps in `home`, and its dataset; ended afterwards."""
    environ = clean_environment(home) | {"HOME": str(home)}
    with owned_sandbox(home, environ) as (state, running):
        yield Site(home, state, running, environ, _dataset(home, state, running))


def _dataset(home: Path, state: StateFolder, running: Running) -> str:
    """The handle of the dataset that is measured in, made the first time."""
    known = home / "dataset"
    if not known.exists():
        known.write_text(_mint(state, running))
    return known.read_text()


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
