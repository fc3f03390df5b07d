"""Renames and unlinks of open files, applied atomically in the journal and here.

The journal is written first, in one transaction. No `await` is between that and the change of the
files, so that nothing is stored under a name that the journal does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack

from provenafs.content.journal import Journal
from provenafs.content.journal_schema import Statement
from provenafs.content.object_version import ObjectVersion
from provenafs.content.writing.file import File


class NameChanges:
    """Changes that are made together, of files whose `name_lock` is held."""

    def __init__(self) -> None:
        self._statements: list[Statement] = []
        self._moves: list[tuple[File, ObjectVersion, str]] = []
        self._unlinks: list[File] = []

    def move(
        self, file: File, to: ObjectVersion, name: str, *, replaces: bool = False
    ) -> NameChanges:
        """The file goes to another key, where the object is `to`.

        `replaces`: that is another file, whose name this one takes once it is stored.
        """
        self._moves.append((file, to, name))
        if file.row is not None:
            self._statements.append(file.row.moved(to, replaces=replaces))
        return self

    def unlink(self, file: File) -> NameChanges:
        """The name goes, and with it any pending store."""
        self._unlinks.append(file)
        if file.row is not None:
            self._statements.append(file.row.removed())
        return self

    async def make(self, journal: Journal) -> None:
        """Make all changes, or none: FSError where the journal cannot be written."""
        await journal.record(self._statements)
        for file in self._unlinks:
            file.unlink()
        for file, to, name in self._moves:
            file.move(to, name)


async def lock_all(stack: AsyncExitStack, files: Iterable[File]) -> None:
    """Hold `name_lock` of several files, in the order that keeps two from waiting in turn."""
    for file in sorted(files, key=lambda file: file.ino):
        await stack.enter_async_context(file.name_lock)


def row_ids(files: Iterable[File | None]) -> tuple[str, ...]:
    """The journal rows of the files that have one."""
    return tuple(file.row.id for file in files if file is not None and file.row is not None)
