"""Profiles (TOML), environment and flags, made into one frozen Settings.

Precedence: flag, then environment, then profile, then default. A profile is the file
`<user config dir>/provenafs/profiles/<name>.toml` of plain `key = value` lines, the keys being the
fields of `Settings`; the environment variable of a field is its name in capitals after
`PROVENAFS_`.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from provenafs import private

DEFAULT_PROFILE = "default"

_APPLICATION = "provenafs"
_MIB = 1024 * 1024
_ADDRESS = re.compile(r"[!-~]{1,2000}")
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENVIRONMENT_NAMES = {"s3_endpoint_url": "PROVENAFS_S3_ENDPOINT"}


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


Url = Annotated[str, AfterValidator(_checked_url)]
Directory = Annotated[Path, AfterValidator(_checked_directory)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[ByteSize, Field(ge=0)]


class Settings(BaseModel):
    """All settings of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = DEFAULT_PROFILE

    domain: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+$")
    """The instance's domain, from which the addresses not given below are derived."""
    realm: str | None = Field(None, pattern=r"^[^/?#\s]+$")
    """The Keycloak realm's name under `auth.<domain>`."""
    datastore_url: Url | None = None
    registry_url: Url | None = None
    search_url: Url | None = None
    auth_url: Url | None = None
    """The whole address of the realm."""
    auth_api_url: Url | None = None
    job_api_url: Url | None = None
    s3_endpoint_url: Url | None = None
    """Another S3 address than AWS's own."""

    client_id: str = "client-tools"
    scopes: str = ""
    token: SecretStr | None = None
    """An access token, or a refresh or offline token, to use in place of a login."""
    token_file: Directory | None = None
    """A file holding such a token; read again whenever it changes."""

    cache_dir: Directory = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir(_APPLICATION))
    )
    """What may be deleted at any moment."""
    state_dir: Directory = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir(_APPLICATION))
    )
    """What must not be lost: logins, the journal, bytes not yet stored."""
    cache_size: Bytes = ByteSize(10 * 1024 * _MIB)
    staging_size: Bytes = ByteSize(20 * 1024 * _MIB)
    """Bytes of disk for what is written and not stored yet."""
    writeback: bool = False
    """Acknowledge a close once the bytes are on the local disk, and upload them later."""
    rename_limit: Annotated[int, Field(ge=0)] = 10_000
    """How many objects a directory may hold to be renamed; above it mv copies."""
    memory: Bytes = ByteSize(80 * _MIB)
    """Bytes of memory for all read-ahead windows together."""
    fetch_whole: bool = True
    """Cache a file whole once the waits for parts of it have lasted as long as that takes.

    To be switched off where each byte is paid for.
    """

    indexers: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = (
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
    noexec: bool = False
    """Let the kernel refuse to run programs from the mount."""
    allow_other: bool = False
    """Let other local users in, with the permissions that the modes shown give them."""
    uid: Annotated[int | None, BeforeValidator(_user_id), Field(ge=0, lt=2**32 - 1)] = None
    """The user, by name or number, who is shown as the owner; None is the one who mounts."""
    gid: Annotated[int | None, BeforeValidator(_group_id), Field(ge=0, lt=2**32 - 1)] = None
    """The group, by name or number, that is shown; None is that of the user who mounts."""
    umask: Annotated[int | None, BeforeValidator(_from_octal), Field(ge=0, le=0o777)] = None
    """Permission bits taken from everything shown, in octal; None leaves 022 and own modes."""
    datasets: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = ()
    """Handles to show; none means every dataset the user may see."""
    ttl: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    """For how many seconds a listing is trusted."""
    mtime: Literal["stored", "object"] = "stored"
    """Whose modification times files show that others stored: of the storing, or of the object.

    The objects' own (x-amz-meta-mtime, and x-amz-meta-mode) cost one request for each, once.
    """
    io_timeout: Seconds = 60.0
    """After how many seconds without progress a transfer fails."""
    api_timeout: Seconds = 60.0
    """Within how many seconds a call to a service must succeed, retries included."""
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
        if not profile_path(self.profile).exists():
            return (
                f"no Provena instance is configured: there is no profile '{self.profile}'"
                f" ({_existing_profiles()}); name one with --profile or make one with"
                " 'provenafs profile add'"
            )
        return f"profile '{self.profile}' sets neither 'domain' nor '{field}'"


def load_settings(*, environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    """The settings of this run; flags that are None count as not given.

    Raises ConfigError for a profile that is missing or unreadable, an unknown key, a bad value.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in flags.items() if value is not None}
    from_environment = {
        name: environ[variable]
        for name in Settings.model_fields
        if environ.get(variable := environment_name(name))
    }
    named = given.get("profile") or from_environment.get("profile")
    profile = str(named or DEFAULT_PROFILE)
    from_profile = _read_profile(profile, must_exist=named is not None)
    try:
        return Settings.model_validate(
            {**from_profile, **from_environment, **given, "profile": profile}
        )
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        if field in given:
            source = f"--{field.replace('_', '-')}"
        elif field in from_environment:
            source = environment_name(field)
        else:
            source = f"'{field}' in {profile_path(profile)}"
        # Without its cause: pydantic's text quotes the value, which may be a token.
        raise ConfigError(f"{source}: {_reason(error)}") from None


def profile_path(name: str) -> Path:
    """The file of a profile; raises ConfigError for a name that cannot be one."""
    if not _PROFILE_NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot be a profile's name: use letters, digits, '.', '_' and '-'"
        )
    return _profiles_directory() / f"{name}.toml"


def profile_names() -> list[str]:
    """The profiles that exist, by name."""
    return sorted(path.stem for path in _profiles_directory().glob("*.toml"))


def save_profile(name: str, values: Mapping[str, object]) -> Path:
    """Write a profile, replacing one of the same name; raises ConfigError for a bad value."""
    path = profile_path(name)
    try:
        Settings.model_validate({**values, "profile": name})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise ConfigError(f"'{field}': {_reason(error)}") from None
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None]
    try:
        private.top_folder(path.parent)
        private.replace(path, "".join(lines))
    except OSError as error:
        raise ConfigError(f"cannot write the profile {path}: {error.strerror}") from error
    return path


def delete_profile(name: str) -> bool:
    """Remove a profile; returns whether it existed."""
    path = profile_path(name)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def _profiles_directory() -> Path:
    return Path(platformdirs.user_config_dir(_APPLICATION)) / "profiles"


def _existing_profiles() -> str:
    names = profile_names()
    return "those that exist: " + ", ".join(names) if names else "none exists yet"


def _read_profile(name: str, *, must_exist: bool) -> dict[str, Any]:
    path = profile_path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"there is no profile '{name}' ({_existing_profiles()})") from None
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read the profile {path}: {error.strerror}") from error
    except RecursionError:
        raise ConfigError(f"the profile {path} is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"the profile {path} is not valid TOML: {error}") from error
    unknown = [key for key in values if key not in Settings.model_fields or key == "profile"]
    if unknown:
        known = ", ".join(key for key in Settings.model_fields if key != "profile")
        raise ConfigError(f"unknown key '{unknown[0]}' in {path}; the keys are {known}")
    return values


def environment_name(field: str) -> str:
    """The environment variable of a setting."""
    return _ENVIRONMENT_NAMES.get(field, f"PROVENAFS_{field.upper()}")


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
