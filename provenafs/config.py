"""Flags, environment, profiles and system-wide defaults (TOML), made into one frozen Settings.

Precedence: flag, then environment, then profile, then `/etc/provenafs/defaults.toml`, then
default. A profile is the file `<user config dir>/provenafs/profiles/<name>.toml`, or else
`/etc/provenafs/profiles/<name>.toml`, of plain `key = value` lines, the keys being the fields of
`Settings`; the environment variable of a field is its name in capitals after `PROVENAFS_`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError

from provenafs import private
from provenafs.setting_types import (
    Bytes,
    Directory,
    Duration,
    GroupId,
    Names,
    Timeout,
    Umask,
    Url,
    UserId,
)

DEFAULT_PROFILE = "default"
SYSTEM_DIRECTORY = Path("/etc/provenafs")
"""Where the administrator keeps `defaults.toml` and `profiles/` for everybody."""

_APPLICATION = "provenafs"
_MIB = 1024 * 1024
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PREFIX = "PROVENAFS_"
_ENVIRONMENT_NAMES = {"s3_endpoint_url": f"{_PREFIX}S3_ENDPOINT"}
_FLAGS = {"s3_endpoint_url": "--s3-endpoint", "datasets": "--dataset"}
_NO_SETTINGS = ("PROVENAFS_TRACEBACK", "PROVENAFS_SANDBOX_STATE")
_INSTANCE = ("domain", "datastore_url", "registry_url", "search_url", "auth_url")


class ConfigError(Exception):
    """A setting, profile or environment variable that cannot be used; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Services:
    """Where each service of one Provena instance answers; no address ends in a slash."""

    datastore: str
    registry: str
    search: str
    realm: str
    auth_api: str | None
    job_api: str | None


class Settings(BaseModel):
    """All settings of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    profile: str = DEFAULT_PROFILE
    """The profile to use; where there is only one, that is the default."""

    domain: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+$")
    """The instance's domain, from which the addresses not given below are derived."""
    realm: str | None = Field(None, pattern=r"^[^/?#\s]+$")
    """The Keycloak realm's name under `auth.<domain>`."""
    datastore_url: Url | None = None
    """The address of the data store's API."""
    registry_url: Url | None = None
    """The address of the registry's API."""
    search_url: Url | None = None
    """The address of the search service."""
    auth_url: Url | None = None
    """The whole address of the realm."""
    auth_api_url: Url | None = None
    """The address of the auth API."""
    job_api_url: Url | None = None
    """The address of the job API."""
    s3_endpoint_url: Url | None = None
    """Address of the S3 server, if not AWS."""

    client_id: str = "client-tools"
    """The client of the realm to log in as."""
    scopes: str = ""
    """Further scopes to ask for when logging in, separated by blanks."""
    token: SecretStr | None = None
    """An access token, or a refresh or offline token, to use in place of a login."""
    token_file: Directory | None = None
    """A file holding such a token; read again whenever it changes."""

    cache_dir: Directory = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir(_APPLICATION)),
        examples=["~/.cache/provenafs"],
    )
    """Directory for the disposable cache."""
    state_dir: Directory = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir(_APPLICATION)),
        examples=["~/.local/state/provenafs"],
    )
    """Directory for state that must survive: logins, the journal, data not yet stored."""
    cache_size: Bytes = ByteSize(10 * 1024 * _MIB)
    """Disk space for cached reads; 0 disables the cache."""
    staging_size: Bytes = ByteSize(20 * 1024 * _MIB)
    """Disk space for data that is not stored yet."""
    writeback: bool = False
    """Acknowledge a close once the bytes are on the local disk, and upload them later."""
    rename_limit: Annotated[int, Field(ge=0)] = 10_000
    """How many objects a directory may hold to be renamed; above it (EXDEV) mv copies."""
    memory: Bytes = ByteSize(80 * _MIB)
    """Memory for all read-ahead windows together."""
    connections: Annotated[int, Field(ge=1, le=128)] = 32
    """The most ranges of large files read at once, and parts sent; as many as speed it up are."""
    fetch_whole: bool = True
    """Cache a file whole once the waits for parts of it have lasted as long as that takes.

    To be switched off where each byte is paid for.
    """

    indexers: Names = (
        "baloo_file",
        "baloo_file_extractor",
        "ffmpegthumbnailer",
        "gdk-pixbuf-thumbnailer",
        "evince-thumbnailer",
        "localsearch-3",
        "localsearch-extractor-3",
        "plocate-updatedb",
        "thumbnail.so",
        "totem-video-thumbnailer",
        "tracker-extract-3",
        "tracker-miner-fs-3",
        "tumblerd",
        "updatedb",
        "updatedb.mlocate",
        "updatedb.plocate",
    )
    """Programs that are refused what is not on this machine, so that they fetch nothing."""

    read_only: bool = False
    """Refuse every change."""
    noexec: bool = False
    """Let the kernel refuse to run programs from the mount."""
    allow_other: bool = False
    """Give other users of this machine access, as far as modes permit."""
    uid: UserId | None = None
    """With allow_other: the user, by name or number, shown as the owner; else who mounts."""
    gid: GroupId | None = None
    """With allow_other: the group, by name or number, shown as the owner, e.g. of a lab."""
    umask: Umask | None = None
    """With allow_other: permission bits to clear, in octal, e.g. 007; else 022 and own modes."""
    datasets: Names = ()
    """Handles to show; none means every dataset the user may see."""
    ttl: Duration = 30.0
    """For how long a listing is trusted."""
    mtime: Literal["stored", "object"] = "stored"
    """`stored` or `object`: the times that files of other programs show.

    When stored, or those kept with the objects (x-amz-meta-mtime), a HEAD for each, once.
    """
    io_timeout: Timeout = 60.0
    """For how long a transfer may make no progress before it fails."""
    api_timeout: Timeout = 60.0
    """Within what time a call to a service must succeed, retries included."""
    reason: str = Field("Edited through provenafs", min_length=1)
    """The reason given for a metadata edit that has none of its own."""

    @property
    def services(self) -> Services:
        """The addresses of the services.

        Raises ConfigError if neither the domain nor an address locates one.
        """
        return Services(
            datastore=self._required("datastore_url", "data-api"),
            registry=self._required("registry_url", "registry-api"),
            search=self._required("search_url", "search"),
            realm=self._realm(),
            auth_api=self.auth_api_url or self._derived("auth-api"),
            job_api=self.job_api_url or self._derived("job-api"),
        )

    def _derived(self, host: str) -> str | None:
        return None if self.domain is None else f"https://{host}.{self.domain}"

    def _required(self, field: str, host: str) -> str:
        address: str | None = getattr(self, field) or self._derived(host)
        if address is None:
            raise ConfigError(self._missing(field))
        return address

    def _realm(self) -> str:
        if self.auth_url is not None:
            return self.auth_url
        if self.domain is None:
            raise ConfigError(self._missing("auth_url"))
        if self.realm is None:
            raise ConfigError(
                f"profile '{self.profile}' names the domain {self.domain} but no realm:"
                " set 'realm' (or 'auth_url')"
            )
        return f"https://auth.{self.domain}/auth/realms/{self.realm}"

    def _missing(self, field: str) -> str:
        if find_profile(self.profile) is None:
            return (
                f"no Provena instance is configured: there is no profile '{self.profile}'"
                f" ({_existing_profiles()}); name one with --profile or make one with"
                " 'provenafs profile add'"
            )
        return f"profile '{self.profile}' sets neither 'domain' nor '{field}'"


@dataclass(frozen=True, slots=True)
class _Source:
    """One of the places that settings come from; `place` says where in it a field is set."""

    kind: str
    values: Mapping[str, object]
    place: Callable[[str], str]


def load_settings(*, environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    """The settings of this run; flags that are None count as not given.

    Raises ConfigError for a profile that is missing or unreadable, an unknown key or variable, a
    bad value.
    """
    return _loaded(_sources(os.environ if environ is None else environ, flags))


def load_with_origins(**flags: object) -> tuple[Settings, dict[str, str]]:
    """The settings of this run, and where each that has not its default comes from."""
    sources = _sources(os.environ, flags)
    origins = {field: source.kind for source in sources for field in source.values}
    return _loaded(sources), origins


def validated(values: Mapping[str, object]) -> Settings:
    """Settings made of these values alone; raises ConfigError for a bad one."""
    return _loaded([_Source("given", values, lambda field: f"'{field}'")])


def flag_of(field: str) -> str:
    """How a setting is called on the command line."""
    return _FLAGS.get(field, f"--{field.replace('_', '-')}")


def environment_name(field: str) -> str:
    """How a setting is called in the environment."""
    return _ENVIRONMENT_NAMES.get(field, f"{_PREFIX}{field.upper()}")


def _loaded(sources: list[_Source]) -> Settings:
    values: dict[str, object] = {}
    for source in sources:
        values |= source.values
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        place = [source.place(field) for source in sources if field in source.values][-1]
        # Without its cause: pydantic's text quotes the value, which may be a token.
        raise ConfigError(f"{place}: {_reason(error)}") from None


def _sources(environ: Mapping[str, str], flags: Mapping[str, object]) -> list[_Source]:
    """All that say something, later ones before earlier ones."""
    _check_variables(environ)
    given = {name: value for name, value in flags.items() if value is not None}
    from_environment = {
        name: environ[variable]
        for name in Settings.model_fields
        if environ.get(variable := environment_name(name))
    }
    defaults = SYSTEM_DIRECTORY / "defaults.toml"
    sources = [_Source("system file", _read(defaults, Settings.model_fields), _within(defaults))]
    spoken: list[Mapping[str, object]] = [given, from_environment, sources[0].values]
    named = next((str(one["profile"]) for one in spoken if one.get("profile")), None)
    profile = named or _profile_not_named({**from_environment, **given})
    path = find_profile(profile) if named is None else existing_profile(profile)
    if path is not None:
        kind = "system profile" if path.is_relative_to(SYSTEM_DIRECTORY) else "profile"
        sources.append(_Source(kind, _read(path, _profile_keys()), _within(path)))
    sources.append(_Source("environment", from_environment, environment_name))
    sources.append(_Source("flag", given, flag_of))
    if named is None:
        kind = "default" if path is None else "found alone"
        sources.append(_Source(kind, {"profile": profile}, str))
    return sources


def _profile_not_named(values: Mapping[str, object]) -> str:
    """The only one there is, unless the instance is named without any."""
    names = profile_names()
    if len(names) == 1 and not any(name in values for name in _INSTANCE):
        return names[0]
    return DEFAULT_PROFILE


def _check_variables(environ: Mapping[str, str]) -> None:
    known = {*map(environment_name, Settings.model_fields), *_NO_SETTINGS}
    for name in environ:
        if name.startswith(_PREFIX) and name not in known:
            raise ConfigError(f"unknown environment variable {name}{nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: what may have been meant."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    return f": did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def profile_path(name: str) -> Path:
    """The file of a profile; raises ConfigError for a name that cannot be one."""
    if not _PROFILE_NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot be a profile's name: use letters, digits, '.', '_' and '-'"
        )
    return _profiles_directory() / f"{name}.toml"


def existing_profile(name: str) -> Path:
    """The file that a profile is read from; ConfigError if there is none."""
    path = find_profile(name)
    if path is None:
        raise ConfigError(f"there is no profile '{name}' ({_existing_profiles()})")
    return path


def find_profile(name: str) -> Path | None:
    """The file that a profile is read from: the user's own before the system's; None if none."""
    own = profile_path(name)
    candidates = (own, _system_profiles() / own.name)
    return next((path for path in candidates if os.access(path, os.F_OK)), None)


def profile_names() -> list[str]:
    """The profiles that exist, the user's own and the system's, by name."""
    folders = (_profiles_directory(), _system_profiles())
    return sorted({path.stem for folder in folders for path in folder.glob("*.toml")})


def save_profile(name: str, values: Mapping[str, object]) -> Path:
    """Write a profile, replacing one of the same name; raises ConfigError for a bad value."""
    path = profile_path(name)
    validated({**values, "profile": name})
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None]
    try:
        private.top_folder(path.parent)
        private.replace(path, "".join(lines))
    except OSError as error:
        raise ConfigError(f"cannot write the profile {path}: {error.strerror}") from error
    return path


def delete_profile(name: str) -> bool:
    """Remove a profile of the user's own; tells whether there was one."""
    path = profile_path(name)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def _profiles_directory() -> Path:
    return Path(platformdirs.user_config_dir(_APPLICATION)) / "profiles"


def _system_profiles() -> Path:
    return SYSTEM_DIRECTORY / "profiles"


def _existing_profiles() -> str:
    names = profile_names()
    return "those that exist: " + ", ".join(names) if names else "none exists yet"


def _profile_keys() -> list[str]:
    return [key for key in Settings.model_fields if key != "profile"]


def _within(path: Path) -> Callable[[str], str]:
    return lambda field: f"'{field}' in {path}"


def _read(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """What a file sets; nothing if there is none."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key '{key}' in {path}{nearest(key, known)}")
    return values


def _reason(error: ValidationError) -> str:
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    # A JSON string is a TOML basic string, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
