"""The states of a file and their transitions.

    state         its bytes are                             its journal row
    CLEAN         in the object                             none
    NEW           none yet: no object, nothing written      none
    STAGED        staged, as they are in the object         open
    DIRTY         staged and changed                        open
    ACKNOWLEDGED  staged; a close has promised to store     closed
    STORED        staged, and in the object                 sent
    FAILED        staged; storing them was refused          failed
    CONFLICT      staged; another client's object is there  failed
    STALE         in recovery, after a conflict             failed, without an owner
    UNLINKED      here for open handles only                none

                  stage     change    acknowledge   store   fail    conflict  unlink    release
    CLEAN         STAGED    -         -             -       -       -         UNLINKED  CLEAN
    NEW           DIRTY     -         -             -       -       -         UNLINKED  CLEAN
    STAGED        STAGED    DIRTY     -             -       -       -         UNLINKED  CLEAN
    DIRTY         DIRTY     DIRTY     ACKNOWLEDGED  STORED  FAILED  CONFLICT  UNLINKED  CLEAN
    ACKNOWLEDGED  -         -         -             STORED  FAILED  CONFLICT  UNLINKED  -
    STORED        STAGED    -         -             -       -       -         UNLINKED  CLEAN
    FAILED        FAILED    FAILED    ACKNOWLEDGED  STORED  FAILED  CONFLICT  UNLINKED  CLEAN
    CONFLICT      -         -         -             -       -       -         UNLINKED  STALE
    STALE         -         -         -             -       -       -         UNLINKED  STALE
    UNLINKED      UNLINKED  UNLINKED  -             -       -       -         UNLINKED  UNLINKED

`stage` journals and stages the file before its first change, and `change` is that one: in between
it may fail, and then nothing is owed. What a close has promised is stored before it is changed
again. `release` is the end of the last use: what is not stored by then is left to recovery.
"""

from __future__ import annotations

from enum import Enum

from provenafs.content.journal_schema import State


class FileState(Enum):
    """How a file differs from its object."""

    CLEAN = "clean"
    NEW = "new"
    STAGED = "staged"
    DIRTY = "dirty"
    ACKNOWLEDGED = "acknowledged"
    STORED = "stored"
    FAILED = "failed"
    CONFLICT = "conflict"
    STALE = "stale"
    UNLINKED = "unlinked"

    def after(self, operation: Operation) -> FileState:
        """The state that an operation ends in, which must be possible in this one."""
        state = _AFTER[operation].get(self)
        assert state is not None, f"{operation.value} of a file that is {self.value}"
        return state

    @property
    def is_changed(self) -> bool:
        """Whether a close has something to store, or was refused it."""
        return self in _CHANGED

    @property
    def was_refused(self) -> bool:
        """Whether a close was answered with an error, so that only the user may send the bytes."""
        return self in (FileState.FAILED, FileState.CONFLICT)

    @property
    def is_conflict(self) -> bool:
        """Whether another client's object has taken the place of the one that was changed."""
        return self in (FileState.CONFLICT, FileState.STALE)

    @property
    def journalled(self) -> State:
        """The journal's state of a file that is not stored."""
        return _JOURNALLED.get(self, State.OPEN)


class Operation(Enum):
    """An operation on a file."""

    STAGE = "stage"
    CHANGE = "change"
    ACKNOWLEDGE = "acknowledge"
    STORE = "store"
    FAIL = "fail"
    CONFLICT = "conflict"
    UNLINK = "unlink"
    RELEASE = "release"


def recovered(state: State) -> FileState:
    """The state of a file whose row an earlier mount has left."""
    return _RECOVERED[state]


_CHANGED = {FileState.NEW, FileState.DIRTY, FileState.FAILED, FileState.CONFLICT}
_UNSTORED = (FileState.DIRTY, FileState.ACKNOWLEDGED, FileState.FAILED)

_AFTER = {
    Operation.STAGE: {
        FileState.CLEAN: FileState.STAGED,
        FileState.NEW: FileState.DIRTY,
        FileState.STAGED: FileState.STAGED,
        FileState.DIRTY: FileState.DIRTY,
        FileState.STORED: FileState.STAGED,
        FileState.FAILED: FileState.FAILED,
        FileState.UNLINKED: FileState.UNLINKED,
    },
    Operation.CHANGE: {
        FileState.STAGED: FileState.DIRTY,
        FileState.DIRTY: FileState.DIRTY,
        FileState.FAILED: FileState.FAILED,
        FileState.UNLINKED: FileState.UNLINKED,
    },
    Operation.ACKNOWLEDGE: {
        FileState.DIRTY: FileState.ACKNOWLEDGED,
        FileState.FAILED: FileState.ACKNOWLEDGED,
    },
    Operation.STORE: dict.fromkeys(_UNSTORED, FileState.STORED),
    Operation.FAIL: dict.fromkeys(_UNSTORED, FileState.FAILED),
    Operation.CONFLICT: dict.fromkeys(_UNSTORED, FileState.CONFLICT),
    Operation.UNLINK: dict.fromkeys(FileState, FileState.UNLINKED),
    Operation.RELEASE: {
        FileState.CLEAN: FileState.CLEAN,
        FileState.NEW: FileState.CLEAN,
        FileState.STAGED: FileState.CLEAN,
        FileState.DIRTY: FileState.CLEAN,
        FileState.STORED: FileState.CLEAN,
        FileState.FAILED: FileState.CLEAN,
        FileState.CONFLICT: FileState.STALE,
        FileState.STALE: FileState.STALE,
        FileState.UNLINKED: FileState.UNLINKED,
    },
}

_JOURNALLED = {
    FileState.ACKNOWLEDGED: State.CLOSED,
    FileState.STORED: State.SENT,
    FileState.FAILED: State.FAILED,
    FileState.CONFLICT: State.FAILED,
}

_RECOVERED = {
    State.OPEN: FileState.DIRTY,
    State.CLOSED: FileState.ACKNOWLEDGED,
    State.SENT: FileState.STORED,
    State.FAILED: FileState.FAILED,
}
