"""status: show mounts and their state."""

from __future__ import annotations

import json
import time
from contextlib import closing, suppress
from functools import partial
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from provenafs.cli.live import pending, status_of
from provenafs.cli.output import local_time, say
from provenafs.fuse import mountpoint as mountpoints
from provenafs.fuse.connection import server_of
from provenafs.fuse.mountpoint import Mounted
from provenafs.lib.deadline import Call

_BAR_WIDTH = 20
_WITHIN_S = 0.4


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show mounts and their state."""
    mounts = mountpoints.our_mounts()
    accounts = [Call(partial(_account, mounted)) for mounted in mounts]
    deadline = time.monotonic() + _WITHIN_S
    found = [_outcome(*pair, deadline) for pair in zip(mounts, accounts, strict=True)]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    if not found:
        print("Nothing is mounted.")
    for entry in found:
        say(_line(entry))
        for sentence in entry.get("not_shown", ()):
            say(f"  not shown: {sentence}")
        for transfer in entry.get("pending", ()):
            say(_transfer_line(transfer))


def _account(mounted: Mounted) -> dict[str, Any]:
    path = str(mounted.path)
    if not mountpoints.is_alive(mounted.path):
        return {"mountpoint": path, "alive": False}
    status = status_of(mounted.path) | {"mountpoint": path}
    return {"alive": True, **status, "pending": pending(mounted.path)}


def _outcome(mounted: Mounted, account: Call[dict[str, Any]], deadline: float) -> dict[str, Any]:
    """The status a mount reports; one that does not respond in time is stuck."""
    if account.ends(max(0.0, deadline - time.monotonic())):
        with suppress(TimeoutError):
            return account.result()
    stuck: dict[str, Any] = {"mountpoint": str(mounted.path), "alive": True, "stuck": True}
    server = server_of(mounted)
    if server is not None:
        with closing(server):
            stuck |= {"server": server.pid, "stopped": server.is_stopped}
    return stuck


def _line(entry: dict[str, Any]) -> str:
    where = entry["mountpoint"]
    if not entry["alive"]:
        return f"{where}: dead; the next mount there clears it"
    if entry.get("stuck"):
        return f"{where}: does not answer within {_WITHIN_S} s{_why(entry)}"
    if "pid" not in entry:
        return f"{where}: mounted by another user"
    since = local_time(entry["started"])
    mode = "read-only" if entry["read_only"] else "read-write"
    return (
        f"{where}: {entry['datastore']} as {entry['user']} (profile {entry['profile']}), {mode},"
        f" since {since}, pid {entry['pid']}"
    )


def _why(entry: dict[str, Any]) -> str:
    pid = entry.get("server")
    if pid is None:
        return ""
    if entry["stopped"]:
        return f": its process {pid} is stopped, let it go on with 'kill -CONT {pid}'"
    return f": its process {pid} is busy or stuck, see its log"


def _transfer_line(transfer: dict[str, Any]) -> str:
    share = min(1.0, transfer["sent"] / transfer["size"]) if transfer["size"] else 1.0
    bar = "█" * round(share * _BAR_WIDTH)
    sent, size = decimal(transfer["sent"]), decimal(transfer["size"])
    return f"  {bar:░<{_BAR_WIDTH}} {sent} of {size}  {transfer['key']} ({transfer['state']})"
