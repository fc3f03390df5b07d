"""mount, umount and status: the drive itself."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from provenafs import private
from provenafs.cli.live import pending, status_of
from provenafs.cli.output import local_time, say
from provenafs.cli.transfers import wait_until_stored
from provenafs.config import Settings, load_settings
from provenafs.fuse import mountpoint as mountpoints
from provenafs.fuse.connection import Connection, Server, server_of
from provenafs.fuse.mountpoint import Mounted, MountError
from provenafs.printable import LineFormatter

_UNMOUNT_WITHIN_S = 60
_ABORT_AFTER_S = 5
_TOLD_WITHIN_S = 5.0
_BAR_WIDTH = 20
_LOG_BYTES = 5 * 1024 * 1024
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_ALLOWED_OTHERS = (
    "with --allow-other every user of this machine can read there what the modes shown let them"
    " read, with your login"
)
_ALLOWED_WRITES = "; --umask and --gid let some of them change it too"

_Profile = Annotated[str | None, typer.Option(help="Profile to use.", show_default=False)]


def mount(
    mountpoint: Annotated[
        Path, typer.Argument(help="An empty directory to mount on.", readable=False)
    ],
    profile: _Profile = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Show only this handle; may be repeated.")
    ] = None,
    foreground: Annotated[bool, typer.Option(help="Stay attached to the terminal.")] = False,
    read_only: Annotated[bool | None, typer.Option(help="Refuse every change.")] = None,
    allow_other: Annotated[
        bool | None,
        typer.Option(help="Give other users of this machine access, as far as modes permit."),
    ] = None,
    uid: Annotated[
        str | None, typer.Option(help="With --allow-other: the user shown as the owner.")
    ] = None,
    gid: Annotated[
        str | None,
        typer.Option(help="With --allow-other: the group shown as the owner, e.g. of a lab."),
    ] = None,
    umask: Annotated[
        str | None,
        typer.Option(help="With --allow-other: permission bits to clear, e.g. 007 or 002."),
    ] = None,
    s3_endpoint: Annotated[
        str | None, typer.Option(help="Address of the S3 server, if not AWS.")
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Directory for the disposable cache.")
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Directory for state that must survive.")
    ] = None,
    ttl: Annotated[float | None, typer.Option(help="Seconds a listing is trusted.")] = None,
    mtime: Annotated[
        str | None,
        typer.Option(
            metavar="stored|object",
            help="Times of files: when stored, or those kept with the objects (a HEAD each).",
        ),
    ] = None,
    io_timeout: Annotated[
        float | None, typer.Option(help="Seconds without progress after which a transfer fails.")
    ] = None,
    cache_size: Annotated[
        str | None,
        typer.Option(help="Disk space for cached reads, e.g. 10GiB; 0 disables the cache."),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for read-ahead, e.g. 128MiB.")] = None,
    writeback: Annotated[
        bool | None,
        typer.Option(
            help="Let close() return once data is on the local disk; upload in the background."
        ),
    ] = None,
    staging_size: Annotated[
        str | None, typer.Option(help="Disk space for data that is not stored yet, e.g. 20GiB.")
    ] = None,
    rename_limit: Annotated[
        int | None,
        typer.Option(help="Largest directory (in objects) that may be renamed; above it, EXDEV."),
    ] = None,
) -> None:
    """Mount the datasets of a Provena data store as a drive."""
    settings = load_settings(
        profile=profile,
        datasets=tuple(dataset) if dataset else None,
        read_only=read_only,
        allow_other=allow_other,
        uid=uid,
        gid=gid,
        umask=umask,
        s3_endpoint_url=s3_endpoint,
        cache_dir=cache_dir,
        state_dir=state_dir,
        ttl=ttl,
        mtime=mtime,
        io_timeout=io_timeout,
        cache_size=cache_size,
        memory=memory,
        writeback=writeback,
        staging_size=staging_size,
        rename_limit=rename_limit,
    )
    path = mountpoint.absolute()
    if foreground:
        _log_to_terminal()
        _serve(settings, path, lambda: say(f"mounted at {path}"))
    else:
        _serve_in_background(settings, path)


def _serve_in_background(settings: Settings, path: Path) -> None:
    from provenafs.fuse.background import detach

    ready = detach()
    _log_to_file(settings)
    _serve(settings, path, ready)


def _serve(settings: Settings, path: Path, ready: Any) -> None:
    # Imported late: the parent of a background mount needs none of it.
    import trio

    from provenafs.fuse.session import serve

    def begun() -> None:
        if settings.allow_other:
            writes = "" if settings.umask is None else _ALLOWED_WRITES
            print(f"provenafs: {_ALLOWED_OTHERS}{writes}", file=sys.stderr)
        ready()

    trio.run(serve, settings, path, begun)


def umount(
    mountpoint: Annotated[Path, typer.Argument(help="Where the drive is mounted.", readable=False)],
    force: Annotated[
        bool, typer.Option(help="Unmount at once; data that is not stored is left to recovery.")
    ] = False,
) -> None:
    """Store pending data, unmount, and wait until the process has ended."""
    path = mountpoint.absolute()
    mounted = mountpoints.mounted_at(path)
    if mounted is None or mounted.filesystem_type != mountpoints.FILESYSTEM_TYPE:
        raise MountError(f"{path} is not a provenafs mount: see 'provenafs status'.")
    is_alive = mountpoints.is_alive(path)
    server = server_of(mounted, _told_pid(mounted)) if is_alive else None
    with closing(Connection(mounted)) as connection:
        if is_alive and not force:
            wait_until_stored(path)
        mountpoints.unmount(path, lazy=force)
        if server is not None and not _has_ended(server, connection if force else None):
            raise MountError(
                f"{path} is unmounted, but its process {server.pid} is still running after"
                f" {_UNMOUNT_WITHIN_S} s: see its log."
            )
    if is_alive and server is None:
        raise MountError(
            f"{path} is unmounted, but it did not tell its process: whether that has ended is not"
            " known, see its log."
        )


def _told_pid(mounted: Mounted) -> int | None:
    """The mount's own status, not validated; None if it does not respond soon."""
    told: list[Any] = []
    thread = Thread(target=lambda: told.append(status_of(mounted.path).get("pid")), daemon=True)
    thread.start()
    thread.join(_TOLD_WITHIN_S)
    return told[0] if told and isinstance(told[0], int) else None


def _has_ended(server: Server, connection: Connection | None) -> bool:
    """Whether the process ends in time; if forced, its connection is aborted."""
    for second in range(_UNMOUNT_WITHIN_S):
        if connection is not None:
            server.tell_to_end()
            if second >= _ABORT_AFTER_S:
                connection.abort()
        if server.has_ended(within=1.0):
            return True
    return False


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show mounts and their state."""
    found = [_describe(mounted) for mounted in mountpoints.our_mounts()]
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


def _describe(mounted: Mounted) -> dict[str, Any]:
    if not mountpoints.is_alive(mounted.path):
        return {"mountpoint": str(mounted.path), "alive": False}
    status = status_of(mounted.path) | {"mountpoint": str(mounted.path)}
    return {"alive": True, **status, "pending": pending(mounted.path)}


def _line(entry: dict[str, Any]) -> str:
    if not entry["alive"]:
        return f"{entry['mountpoint']}: dead; the next mount there clears it"
    if "pid" not in entry:
        return f"{entry['mountpoint']}: mounted by another user"
    since = local_time(entry["started"])
    mode = "read-only" if entry["read_only"] else "read-write"
    return (
        f"{entry['mountpoint']}: {entry['datastore']} as {entry['user']} (profile"
        f" {entry['profile']}), {mode}, since {since}, pid {entry['pid']}"
    )


def _transfer_line(transfer: dict[str, Any]) -> str:
    share = min(1.0, transfer["sent"] / transfer["size"]) if transfer["size"] else 1.0
    bar = "█" * round(share * _BAR_WIDTH)
    sent, size = decimal(transfer["sent"]), decimal(transfer["size"])
    return f"  {bar:░<{_BAR_WIDTH}} {sent} of {size}  {transfer['key']} ({transfer['state']})"


def _log_to_terminal() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(_LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _quiet_libraries()


def _log_to_file(settings: Settings) -> None:
    private.top_folder(settings.state_dir)
    directory = private.folder(settings.state_dir / "log")
    handler = _LogFile(directory / f"{settings.profile}.log", maxBytes=_LOG_BYTES, backupCount=3)
    handler.setFormatter(LineFormatter(_LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _quiet_libraries()


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log that only the owner can read."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        file = os.fdopen(private.open_file(Path(self.baseFilename), flags), "ab")
        return TextIOWrapper(file, "utf-8", "backslashreplace")


def _quiet_libraries() -> None:
    """Libraries log every request; this package logs failures."""
    for name in ("httpx", "httpcore", "botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
