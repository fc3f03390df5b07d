"""Datasets whose versions went wrong, as a sandbox comes to have them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.support.running_sandbox import RunningSandbox


def mint_unversionable(sandbox: RunningSandbox, name: str) -> str:
    """A dataset of alice whose versioning stops half way: its publisher was deleted since."""
    routes = f"{sandbox.running.registry}/registry/agent/organisation"
    document = {"display_name": "Closed", "name": "Closed"}
    made = sandbox.api("admin", "POST", f"{routes}/create", json=document).raise_for_status()
    publisher = made.json()["created_item"]["id"]
    handle = sandbox.mint("alice", name, publisher_id=publisher)
    sandbox.api("admin", "DELETE", f"{routes}/delete", params={"id": publisher}).raise_for_status()
    return handle


def make_version(sandbox: RunningSandbox, handle: str, reason: str = "next") -> str:
    """The next version of a dataset, made by alice behind everybody's back."""
    url = f"{sandbox.running.datastore}/register/version"
    answer = sandbox.api("alice", "POST", url, json={"id": handle, "reason": reason})
    new: str = answer.raise_for_status().json()["new_version_id"]
    return new


def fork(sandbox: RunningSandbox, handle: str) -> tuple[str, str]:
    """Two next versions of a dataset: the one that it names, and the one that it does not."""
    lost = make_version(sandbox, handle, "lost")
    relink(sandbox, handle, lambda links: links.pop("next_version"))
    return make_version(sandbox, handle, "named"), lost


def relink(
    sandbox: RunningSandbox, handle: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """Change the versioning_info of a record as no request can."""
    with closing(sqlite3.connect(sandbox.state.database, timeout=10)) as database, database:
        (text,) = database.execute("SELECT document FROM items WHERE id = ?", (handle,)).fetchone()
        document = json.loads(text)
        change(document["versioning_info"])
        database.execute(
            "UPDATE items SET document = ? WHERE id = ?", (json.dumps(document), handle)
        )


def delete(sandbox: RunningSandbox, handle: str) -> None:
    """Remove a dataset from the registry; its neighbours go on naming it."""
    url = f"{sandbox.running.registry}/registry/entity/dataset/delete"
    sandbox.api("admin", "DELETE", url, params={"id": handle}).raise_for_status()
