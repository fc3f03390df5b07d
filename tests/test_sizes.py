"""Functions that fit on a screen and are called with few things, in files that are read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import provenafs

_PACKAGE = Path(provenafs.__file__).parent
_FILE = 500  # lines
_SCREEN = 40
_PARAMETERS = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(folder: Path) -> Iterator[tuple[str, Function]]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{path.relative_to(_PACKAGE)}:{node.lineno} {node.name}", node


def _parameters(function: Function) -> int:
    """Those that a caller may give, by position or by name; a dataclass has no function here."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return sum(parameter.arg not in ("self", "cls") for parameter in named)


def _lines(function: Function) -> int:
    """How long the body is: of a command, the options are what its user reads."""
    has_words = ast.get_docstring(function) is not None and len(function.body) > 1
    first = function.body[1 if has_words else 0]
    return (function.end_lineno or first.lineno) - first.lineno + 1


def test_no_function_of_the_content_has_many_parameters() -> None:
    counted = {where: _parameters(node) for where, node in _functions(_PACKAGE / "content")}
    assert {where: count for where, count in counted.items() if count > _PARAMETERS} == {}


def test_every_function_fits_on_a_screen() -> None:
    lines = {where: _lines(node) for where, node in _functions(_PACKAGE)}
    assert {where: count for where, count in lines.items() if count > _SCREEN} == {}


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lines = {
        str(path.relative_to(_PACKAGE)): len(path.read_text().splitlines())
        for path in _PACKAGE.rglob("*.py")
    }
    assert {where: count for where, count in lines.items() if count > _FILE} == {}
