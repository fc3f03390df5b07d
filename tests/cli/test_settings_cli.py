"""Every setting, shown to people and machines and written down in the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provenafs.config import Settings
from provenafs.sandbox.process import clean_environment
from tests.support.running_sandbox import run_cli

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return clean_environment(tmp_path)


def test_settings_say_where_they_come_from(environ: dict[str, str]) -> None:
    environ |= {"PROVENAFS_TOKEN": "very-secret", "PROVENAFS_TTL": "5m"}
    add = ("profile", "add", "reef", "--domain", "example.org", "--realm", "r", "--no-check")
    assert run_cli(environ, *add).returncode == 0
    done = run_cli(environ, "config", "show", "--json")
    rows = {row.pop("setting"): row for row in json.loads(done.stdout)}
    assert rows.keys() == Settings.model_fields.keys()
    assert rows["ttl"] == {
        "value": 300.0,
        "origin": "environment",
        "default": 30.0,
        "flag": "--ttl",
        "variable": "PROVENAFS_TTL",
    }
    assert (rows["profile"]["value"], rows["profile"]["origin"]) == ("reef", "found alone")
    assert (rows["domain"]["value"], rows["domain"]["origin"]) == ("example.org", "profile")
    assert (rows["domain"]["flag"], rows["memory"]["origin"]) == (None, "default")
    table = run_cli(environ, "config", "show").stdout
    assert "cache_size\t10GiB\tdefault\t10GiB\t--cache-size\tPROVENAFS_CACHE_SIZE" in table
    assert "very-secret" not in table + done.stdout


def test_the_page_of_the_documentation_is_up_to_date(environ: dict[str, str]) -> None:
    assert run_cli(environ, "config", "docs").stdout == PAGE.read_text()


def test_every_setting_is_described_and_options_name_their_defaults(
    environ: dict[str, str],
) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    words = " ".join(run_cli(environ, "mount", "--help").stdout.split())
    assert "not stored yet. [default: 20GiB]" in words
    assert "[default: 30]" in words
