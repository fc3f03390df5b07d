"""The states of a file: what the table says is what is asserted."""

from __future__ import annotations

import re

import pytest

from provenafs.content.journal_schema import State
from provenafs.content.writing import file_state
from provenafs.content.writing.file_state import FileState, Operation, recovered


def _drawn() -> dict[tuple[FileState, Operation], FileState | None]:
    """The table of the module's docstring."""
    assert file_state.__doc__ is not None
    found = {}
    operations: list[Operation] = []
    for line in file_state.__doc__.splitlines():
        words = line.split()
        if words[:2] == ["stage", "change"]:
            operations = [Operation(word) for word in words]
        elif operations and re.fullmatch(r" {4}[A-Z]+( +([A-Z]+|-))+", line):
            state, *after = words
            for operation, name in zip(operations, after, strict=True):
                found[FileState[state], operation] = None if name == "-" else FileState[name]
    return found


def test_the_table_is_complete_and_as_it_is_drawn() -> None:
    drawn = _drawn()
    assert len(drawn) == len(FileState) * len(Operation)
    for (state, operation), after in drawn.items():
        if after is not None:
            assert state.after(operation) is after, (state, operation)
        else:
            with pytest.raises(AssertionError):
                state.after(operation)


@pytest.mark.parametrize("state", [state for state in FileState if state.is_changed])
def test_what_is_not_stored_can_be_unlinked_and_released(state: FileState) -> None:
    assert not state.after(Operation.RELEASE).is_changed
    assert state.after(Operation.UNLINK) is FileState.UNLINKED


@pytest.mark.parametrize("state", State)
def test_a_recovered_file_is_what_its_row_says(state: State) -> None:
    assert recovered(state).journalled is state
