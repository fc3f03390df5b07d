"""mount: the drive itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from provenafs.cli.logs import log_to_file, log_to_terminal, reopen_logs
from provenafs.cli.options import option
from provenafs.cli.output import say
from provenafs.config import Settings, load_settings
from provenafs.fuse.mountpoint import resolved

_ALLOWED_OTHERS = (
    "with --allow-other every user of this machine can read there what the modes shown let them"
    " read, with your login"
)
_ALLOWED_WRITES = "; --umask and --gid let some of them change it too"

_Profile = Annotated[str | None, typer.Option(help="Profile to use.", show_default=False)]


def mount(
    mountpoint: Annotated[
        Path, typer.Argument(help="An empty directory to mount on.", parser=Path)
    ],
    profile: _Profile = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Show only this handle; may be repeated.")
    ] = None,
    foreground: Annotated[bool, typer.Option(help="Stay attached to the terminal.")] = False,
    install_unit: Annotated[
        bool,
        typer.Option(
            "--install-unit", help="Mount nothing: write a unit for systemd that mounts like this."
        ),
    ] = False,
    read_only: Annotated[bool | None, option("read_only")] = None,
    allow_other: Annotated[bool | None, option("allow_other")] = None,
    uid: Annotated[str | None, option("uid")] = None,
    gid: Annotated[str | None, option("gid")] = None,
    umask: Annotated[str | None, option("umask")] = None,
    s3_endpoint: Annotated[str | None, option("s3_endpoint_url")] = None,
    cache_dir: Annotated[Path | None, option("cache_dir")] = None,
    state_dir: Annotated[Path | None, option("state_dir")] = None,
    ttl: Annotated[str | None, option("ttl")] = None,
    mtime: Annotated[str | None, option("mtime")] = None,
    io_timeout: Annotated[str | None, option("io_timeout")] = None,
    cache_size: Annotated[str | None, option("cache_size")] = None,
    memory: Annotated[str | None, option("memory")] = None,
    connections: Annotated[str | None, option("connections")] = None,
    fetch_whole: Annotated[bool | None, option("fetch_whole")] = None,
    writeback: Annotated[bool | None, option("writeback")] = None,
    staging_size: Annotated[str | None, option("staging_size")] = None,
    rename_limit: Annotated[str | None, option("rename_limit")] = None,
) -> None:
    """Mount the datasets of a Provena data store as a drive."""
    load = partial(
        load_settings,
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
        connections=connections,
        fetch_whole=fetch_whole,
        writeback=writeback,
        staging_size=staging_size,
        rename_limit=rename_limit,
    )
    if install_unit:
        _install_unit(mountpoint, load)
    elif foreground:
        _mount_in_foreground(mountpoint, load)
    else:
        mount_in_background(mountpoint, load)


def _install_unit(mountpoint: Path, load: partial[Settings]) -> None:
    from provenafs.cli.unit import install_unit

    profile = load().profile  # and what is wrong with the settings is said now
    given = {name: value for name, value in load.keywords.items() if value is not None}
    given["profile"] = profile
    unit = install_unit(resolved(mountpoint), given)
    say(f"{unit} is written. To mount now and whenever you log in:")
    say(f"  systemctl --user daemon-reload && systemctl --user enable --now '{unit.name}'")


def _mount_in_foreground(mountpoint: Path, load: Callable[[], Settings]) -> None:
    settings, path = load(), resolved(mountpoint)
    log_to_terminal()
    # Where the terminal is closed, the mount ends with it.
    reload = None if sys.stderr.isatty() else load
    _serve(settings, path, lambda: say(f"mounted at {path}"), reload)


def mount_in_background(mountpoint: Path, load: Callable[[], Settings]) -> None:
    """Mount with the settings that `load` gives, and let the command end once the drive answers."""
    from provenafs.fuse.background import detach

    settings, path = load(), resolved(mountpoint)

    def reload() -> Settings:
        reopen_logs()
        return load()

    ready = detach()
    log_to_file(settings, path)
    _serve(settings, path, ready, reload)


def _serve(
    settings: Settings,
    path: Path,
    ready: Callable[[], None],
    reload: Callable[[], Settings] | None,
) -> None:
    # Imported late: the parent of a background mount needs none of it.
    import trio

    from provenafs.fuse.session import serve

    def begun() -> None:
        if settings.allow_other:
            writes = "" if settings.umask is None else _ALLOWED_WRITES
            print(f"provenafs: {_ALLOWED_OTHERS}{writes}", file=sys.stderr)
        ready()

    trio.run(serve, settings, path, begun, reload)
