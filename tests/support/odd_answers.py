"""Answers made wrong in every place: each field missing, empty, doubled, huge, of another type."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

_RAW = "@raw:"
_TWICE = "@twice"
_DEEP: Any = json.loads("[" * 90 + "]" * 90)

ODD_VALUES: tuple[tuple[str, Any], ...] = (
    ("null", None),
    ("true", True),
    ("zero", 0),
    ("below zero", -1),
    ("a fraction", 1.5),
    ("no number", float("nan")),
    ("infinite", f"{_RAW}1e999"),
    ("milliseconds", 1_717_000_000_000),
    ("more than 64 bits", 2**70),
    ("more than a float", 10**400),
    ("more than Python reads", f"{_RAW}{'9' * 5000}"),
    ("no text", ""),
    ("a word", "word"),
    ("blanks", " \n\t"),
    ("controls", "a\nb\x1b[31m\x00\u202e"),
    ("half a pair", "\ud800"),
    ("dots", ".."),
    ("long", "ab " * 2_000),
    ("no list", []),
    ("a list", [None, 1, "a", {}, []]),
    ("no object", {}),
    ("an object", {"a": {"b": [1]}}),
    ("deep", _DEEP),
)


def odd(answer: Any) -> Iterator[tuple[str, bytes]]:
    """What was made wrong, and the body of an answer in which it is."""
    yield "as it is", _body(answer)
    for path in _paths(answer):
        place = ".".join(map(str, path)) or "all"
        for name, value in ODD_VALUES:
            yield f"{place}: {name}", _body(_with(answer, path, value))
        if path:
            yield f"{place}: missing", _body(_without(answer, path))
            yield f"{place}: doubled", _body(_doubled(answer, path))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(child, (*path, key))


def _parent(answer: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        answer = answer[key]
    return answer


def _with(answer: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(answer)
    _parent(changed, path)[path[-1]] = value
    return changed


def _without(answer: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(answer)
    del _parent(changed, path)[path[-1]]
    return changed


def _doubled(answer: Any, path: tuple[Any, ...]) -> Any:
    """A row that comes twice; a member that does, the second time with another value."""
    changed = copy.deepcopy(answer)
    parent = _parent(changed, path)
    if isinstance(parent, list):
        parent.append(parent[path[-1]])
    else:
        parent[f"{path[-1]}{_TWICE}"] = [parent[path[-1]]]
    return changed


def _body(answer: Any) -> bytes:
    text = json.dumps(answer).replace(_TWICE, "")
    before, *raw = text.split(f'"{_RAW}')
    return "".join([before, *(part.replace('"', "", 1) for part in raw)]).encode()
