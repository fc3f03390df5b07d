"""A unit of systemd for one mount, in the user's own manager."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from provenafs import private
from provenafs.config import environment_name

# As systemd/user/provenafs@.service, which says why.
_UNIT = """\
# Written by 'provenafs mount --install-unit'.

[Unit]
Description=Provena data store at {description}
StartLimitIntervalSec=0

[Service]
Type=notify
{environment}ExecStart={command} mount --foreground {path}
ExecReload=/usr/bin/kill -HUP $MAINPID
ExecStopPost=-/usr/bin/fusermount3 -u -q -z {path}
Restart=on-failure
RestartSec=15
RestartPreventExitStatus=2 3
WatchdogSec=3min
TimeoutStartSec=5min
TimeoutStopSec=2min
KillMode=mixed
UMask=0077
LimitCORE=0

[Install]
WantedBy=default.target
"""


def install_unit(mountpoint: Path, given: Mapping[str, object]) -> Path:
    """Write the unit that mounts at `mountpoint`, replacing one of the same name.

    `given` are the settings that the unit is to hold, by their names. Raises OSError.
    """
    folder = platformdirs.user_config_path("systemd") / "user"
    folder.mkdir(parents=True, exist_ok=True)
    unit = folder / f"provenafs-{_escaped(mountpoint)}.service"
    private.replace(unit, _unit(mountpoint, given))
    return unit


def _unit(mountpoint: Path, given: Mapping[str, object]) -> str:
    assignments = (f"{environment_name(name)}={_text(value)}" for name, value in given.items())
    return _UNIT.format(
        description=str(mountpoint).replace("%", "%%"),
        environment="".join(f"Environment={_quoted(one)}\n" for one in assignments),
        command=_word(str(Path(sys.argv[0]).absolute())),
        path=_word(str(mountpoint)),
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _quoted(text: str) -> str:
    """A word as systemd.syntax(7) has it, without specifiers (systemd.unit(5))."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("%", "%%") + '"'


def _word(text: str) -> str:
    """A word of a command line, in which a dollar begins a variable (systemd.service(5))."""
    return _quoted(text.replace("$", "$$"))


def _escaped(path: Path) -> str:
    """A path as part of a unit's name, as systemd-escape(1) --path has it."""
    name = str(path).strip("/")
    return (
        re.sub(rb"^\.|[^A-Za-z0-9:_./]", lambda match: b"\\x%02x" % match[0][0], name.encode())
        .decode()
        .replace("/", "-")
    )
