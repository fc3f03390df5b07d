"""docs/coverage.md against the official client, the routes of the sandbox and the commands."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from provenafs.cli.app import app
from tests.support.running_services import RunningServices

_DOCUMENT = Path(__file__).parents[2] / "docs" / "coverage.md"
_CLASSES = ("ReviewSubModule", "InteractiveDataset", "Datastore", "IOSubModule")
_METHODS = f"""
import inspect, json
from provenaclient.modules import datastore
found = []
for name in {_CLASSES}:
    methods = inspect.getmembers(getattr(datastore, name), inspect.isfunction)
    found += [f"{{name}}.{{method}}" for method, _ in methods if not method.startswith("_")]
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    method: str
    route: str
    file: str
    command: str


def _lines() -> list[Line]:
    rows = re.findall(
        r"^\| `(\w+\.\w+)` \|(.*)\|(.*)\|(.*)\|$", _DOCUMENT.read_text(), re.MULTILINE
    )
    return [Line(*(cell.strip() for cell in row)) for row in rows]


LINES = _lines()
COMMANDS = sorted(set(re.findall(r"`provenafs ([^`]+)`", _DOCUMENT.read_text())))
ROUTES = sorted({line.route for line in LINES if line.route not in ("none", "S3")})


def test_every_method_of_the_client_is_named_and_no_other(client_python: Path) -> None:
    done = subprocess.run(
        [client_python, "-c", _METHODS], capture_output=True, text=True, timeout=60, check=True
    )
    methods = json.loads(done.stdout)
    assert len(methods) > 25
    named = [line.method for line in LINES]
    assert sorted(named) == sorted(set(named))
    assert set(named) == set(methods)


def test_every_line_says_how() -> None:
    assert [line.method for line in LINES if not line.file and not line.command] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one(command: str) -> None:
    found: Any = get_command(app)
    for word in command.split():
        if word.startswith("--"):
            assert any(word in parameter.opts for parameter in found.params)
        else:
            assert word in found.list_commands(None)
            found = found.get_command(None, word)


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_is_served(route: str, services: RunningServices) -> None:
    method, path = route.strip("`").split(" ")
    service = services.urls.search if path.startswith("/search/") else services.urls.datastore
    served = services.client.get(f"{service}/openapi.json").raise_for_status().json()["paths"]
    assert method.lower() in served[path]
