"""The official client against the sandbox: each row of what it calls and must get."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROWS = [
    node.name
    for path in sorted((Path(__file__).parent / "rows").glob("*.py"))
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.AsyncFunctionDef)
    and any(isinstance(mark, ast.Name) and mark.id == "row" for mark in node.decorator_list)
]


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str, outcomes: dict[str, str | None]) -> None:
    failure = outcomes[row]
    assert failure is None, f"\n{failure}"
