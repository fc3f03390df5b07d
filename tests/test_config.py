"""Where settings come from, which one wins, and what is said of bad ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from provenafs import config
from provenafs.config import (
    ConfigError,
    delete_profile,
    load_settings,
    load_with_origins,
    profile_names,
    profile_path,
    save_profile,
)

FOUR = {
    "datastore_url": "http://127.0.0.1:1/data/",
    "registry_url": "http://localhost:1/registry",
    "search_url": "http://[::1]:1/search",
    "auth_url": "https://auth.example.org/auth/realms/x",
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.setattr(config, "SYSTEM_DIRECTORY", tmp_path / "etc")


def write(name: str, text: str) -> Path:
    path = profile_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_flag_before_environment_before_profile_before_default() -> None:
    write("p", "ttl = 3\nio_timeout = 4\nmemory = '1 MiB'\n")
    environ = {"PROVENAFS_TTL": "2", "PROVENAFS_IO_TIMEOUT": "5", "PROVENAFS_PROFILE": "p"}
    settings = load_settings(environ=environ, ttl=1, cache_dir=None)
    assert (settings.ttl, settings.io_timeout, settings.memory) == (1, 5, 1024 * 1024)
    assert settings.api_timeout == 60
    assert settings.profile == "p"


def test_directories_follow_xdg(tmp_path: Path) -> None:
    settings = load_settings(environ={})
    assert settings.cache_dir == tmp_path / "cache" / "provenafs"
    assert settings.state_dir == tmp_path / "state" / "provenafs"
    assert profile_path("a") == tmp_path / "config" / "provenafs" / "profiles" / "a.toml"


def test_every_type_from_the_environment() -> None:
    settings = load_settings(
        environ={
            "PROVENAFS_READ_ONLY": "true",
            "PROVENAFS_DATASETS": "10378.1/1, 10378.1/2",
            "PROVENAFS_S3_ENDPOINT": "http://127.0.0.1:9/",
            "PROVENAFS_TOKEN": "secret-token",
            "PROVENAFS_CACHE_SIZE": "2GiB",
            "PROVENAFS_TTL": "0",
            "PROVENAFS_REASON": "",
        }
    )
    assert settings.read_only is True
    assert settings.datasets == ("10378.1/1", "10378.1/2")
    assert settings.s3_endpoint_url == "http://127.0.0.1:9"
    assert settings.token is not None
    assert settings.cache_size == 2 * 1024**3
    assert "secret-token" not in repr(settings)


def test_addresses_from_the_domain() -> None:
    services = load_settings(environ={}, domain="example.org", realm="rrap").services
    assert services.datastore == "https://data-api.example.org"
    assert services.registry == "https://registry-api.example.org"
    assert services.search == "https://search.example.org"
    assert services.realm == "https://auth.example.org/auth/realms/rrap"
    assert services.auth_api == "https://auth-api.example.org"
    assert services.job_api == "https://job-api.example.org"


def test_given_addresses_before_derived_ones() -> None:
    services = load_settings(environ={}, **FOUR).services
    assert services.datastore == "http://127.0.0.1:1/data"
    assert services.auth_api is None
    mixed = load_settings(environ={}, domain="example.org", realm="r", **FOUR).services
    assert mixed.datastore == "http://127.0.0.1:1/data"
    assert mixed.job_api == "https://job-api.example.org"


def test_profiles_are_kept_private_and_come_back(tmp_path: Path) -> None:
    values = {**FOUR, "read_only": True, "ttl": 1.5, "datasets": ["1/2"], "reason": 'a "b"\\\n é'}
    path = save_profile("sand.box", values)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = load_settings(environ={}, profile="sand.box")
    assert (settings.read_only, settings.ttl, settings.datasets) == (True, 1.5, ("1/2",))
    assert settings.reason == values["reason"]
    assert profile_names() == ["sand.box"]
    assert delete_profile("sand.box")
    assert not delete_profile("sand.box")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ttl = ", "not valid TOML"),
        ("tll = 3", "unknown key 'tll' in .*bad.toml: did you mean ttl?"),
        ("qqqqq = 3", "unknown key 'qqqqq' in .*bad.toml; known are .*ttl"),
        ("profile = 'x'", "unknown key 'profile'"),
        ("ttl = 'soon'", "'ttl' in .*bad.toml: must be a duration such as 30, 1.5s, 5m"),
        ("io_timeout = 0", "'io_timeout' in .*bad.toml: must be more than 0"),
        ("read_only = 'perhaps'", "'read_only' in .*valid boolean"),
        ("domain = 'https://x'", "'domain' in "),
        ("datastore_url = 'ftp://x'", "must be an address like https://host"),
        ("datastore_url = 'http://data.example.org'", "must be https"),
        ("auth_url = 'https://u:p@host/x'", "without user"),
        ("memory = 'much'", "'memory' in .*bad.toml: must be a size such as 512MiB"),
        ("memory = -1", "'memory' in .*bad.toml: must be a size"),
        ("connections = 0", "'connections' in .*greater than or equal to 1"),
    ],
)
def test_a_bad_profile_is_one_sentence(text: str, words: str) -> None:
    write("bad", text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_settings(environ={}, profile="bad")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("1.5 s", 1.5), ("20ms", 0.02), ("7", 7)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert load_settings(environ={"PROVENAFS_TTL": text}).ttl == pytest.approx(seconds)


def test_an_unknown_variable_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"PROVENAFS_TLL: did you mean PROVENAFS_TTL\?"):
        load_settings(environ={"PROVENAFS_TLL": "3"})
    load_settings(environ={"PROVENAFS_TRACEBACK": "1", "PROVENAFS_SANDBOX_STATE": "/x"})


def test_the_only_profile_is_the_default() -> None:
    save_profile("reef", FOUR)
    assert load_settings(environ={}).profile == "reef"
    # An instance that the environment names is not mixed with another one.
    assert load_settings(environ={"PROVENAFS_AUTH_URL": "https://x.org"}).profile == "default"
    save_profile("other", {})
    with pytest.raises(ConfigError, match="those that exist: other, reef"):
        _ = load_settings(environ={}).services
    save_profile("default", {"ttl": 3})
    assert load_settings(environ={}).ttl == 3


def test_the_system_speaks_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "etc" / "profiles" / "lab.toml"
    shared.parent.mkdir(parents=True)
    shared.write_text("ttl = 5\nmemory = '2MiB'\n")
    (tmp_path / "etc" / "defaults.toml").write_text("ttl = 6\nio_timeout = 7\nprofile = 'lab'\n")
    monkeypatch.setenv("PROVENAFS_MEMORY", "3MiB")
    settings, origins = load_with_origins(api_timeout="8s")
    assert (settings.profile, settings.ttl, settings.io_timeout) == ("lab", 5, 7)
    assert (settings.memory, settings.api_timeout) == (3 * 1024**2, 8)
    assert origins == {
        "profile": "system file",
        "ttl": "system profile",
        "io_timeout": "system file",
        "memory": "environment",
        "api_timeout": "flag",
    }
    save_profile("lab", {"io_timeout": 9})
    settings, origins = load_with_origins()
    assert (settings.ttl, settings.io_timeout, origins["io_timeout"]) == (6, 9, "profile")
    assert profile_names() == ["lab"]
    (tmp_path / "etc" / "defaults.toml").write_text("tll = 6\n")
    with pytest.raises(ConfigError, match=r"'tll' in .*defaults.toml: did you mean ttl\?"):
        load_settings(environ={})


def test_a_profile_that_is_no_text() -> None:
    profile_path("bad").parent.mkdir(parents=True)
    profile_path("bad").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(environ={}, profile="bad")


def test_an_unknown_profile_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no profile 'x' .none exists yet"):
        load_settings(environ={}, profile="x")
    save_profile("one", {})
    save_profile("two", {})
    with pytest.raises(ConfigError, match="those that exist: one, two"):
        load_settings(environ={}, profile="x")
    with pytest.raises(ConfigError, match="cannot be a profile's name"):
        load_settings(environ={}, profile="../etc/passwd")


def test_bad_values_name_where_they_come_from_and_never_a_secret() -> None:
    with pytest.raises(ConfigError, match=r"^--io-timeout: "):
        load_settings(environ={}, io_timeout=0)
    with pytest.raises(ConfigError, match=r"^PROVENAFS_S3_ENDPOINT: must be https"):
        load_settings(environ={"PROVENAFS_S3_ENDPOINT": "http://s3.example.org"})
    write("p", "token = 12345678")
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, profile="p")
    assert "12345678" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nothing_configured_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="provenafs profile add"):
        _ = load_settings(environ={}).services
    save_profile("p", {"domain": "example.org"})
    with pytest.raises(ConfigError, match=r"domain example.org but no realm"):
        _ = load_settings(environ={}, profile="p").services
    save_profile("q", {"realm": "r"})
    with pytest.raises(ConfigError, match="neither 'domain' nor 'datastore_url'"):
        _ = load_settings(environ={}, profile="q").services


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 50_000, "nested too deeply"),
        ("ttl = " + "1" * 5000, "is not valid TOML"),
        ('cache_dir = "a\\u0000b"', "must not contain a null character"),
        ('state_dir = "~no-such-user-here/x"', "home directory is not known"),
        ('auth_url = "https://host:99999/x"', "port out of range"),
        ('auth_url = "https://host:x/x"', "'auth_url'"),
        ('auth_url = "https://a b/x"', "in ASCII"),
        ('auth_url = "https://ho\\nst/x"', "in ASCII"),
        ('auth_url = "https://[::1/x"', "'auth_url'"),
    ],
)
def test_odd_profiles_are_refused_in_a_sentence(text: str, words: str) -> None:
    write("p", text + "\n")
    with pytest.raises(ConfigError, match=words):
        load_settings(environ={}, profile="p")
