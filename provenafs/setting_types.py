"""What a setting may be: addresses, directories, sizes, durations, users, each with its words."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

_ADDRESS = re.compile(r"[!-~]{1,2000}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = "must be a size such as 512MiB, 10GiB or 0 (units: KiB, MiB, GiB, TiB; KB, MB, GB, TB)"
_DURATIONS = "a duration such as 30, 1.5s, 5m or 1h (units: ms, s, m, h, d; s without one)"


def _checked_url(url: str) -> str:
    if not _ADDRESS.fullmatch(url):
        raise ValueError("must be an address like https://host, without blanks, in ASCII")
    parts = urlsplit(url)
    _ = parts.port  # ValueError for what is none
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address like https://host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain address, without user, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https: plain http is allowed on this machine only")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_directory(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("must not contain a null character")
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("names a user whose home directory is not known") from None


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _user_id(value: object) -> object:
    if isinstance(value, str) and not value.isdecimal():
        import pwd  # of Unix only

        try:
            return pwd.getpwnam(value).pw_uid
        except KeyError:
            raise ValueError(f"there is no user '{value}' on this machine") from None
    return value


def _group_id(value: object) -> object:
    if isinstance(value, str) and not value.isdecimal():
        import grp  # of Unix only

        try:
            return grp.getgrnam(value).gr_gid
        except KeyError:
            raise ValueError(f"there is no group '{value}' on this machine") from None
    return value


def _from_octal(value: object) -> object:
    if isinstance(value, str):
        if not re.fullmatch("[0-7]{1,4}", value):
            raise ValueError("must be an octal number such as 022")
        return int(value, 8)
    return value


def _from_duration(value: object) -> object:
    if not isinstance(value, str) or not (match := _DURATION.fullmatch(value.strip())):
        return value
    return float(match[1]) * _UNITS_S[match[2]]


def _or_say(words: str) -> WrapValidator:
    """Say what is allowed in place of what pydantic makes of it."""

    def validated(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(words) from None

    return WrapValidator(validated)


Url = Annotated[str, AfterValidator(_checked_url)]
Directory = Annotated[Path, AfterValidator(_checked_directory)]
Duration = Annotated[
    float,
    BeforeValidator(_from_duration),
    Field(ge=0, allow_inf_nan=False),
    _or_say(f"must be {_DURATIONS}"),
]
"""Seconds, 0 included."""
Timeout = Annotated[Duration, Field(gt=0), _or_say(f"must be more than 0: {_DURATIONS}")]
"""Seconds, more than 0."""
Bytes = Annotated[ByteSize, _or_say(_SIZES)]
UserId = Annotated[int, BeforeValidator(_user_id), Field(ge=0, lt=2**32 - 1)]
GroupId = Annotated[int, BeforeValidator(_group_id), Field(ge=0, lt=2**32 - 1)]
Umask = Annotated[int, BeforeValidator(_from_octal), Field(ge=0, le=0o777)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
