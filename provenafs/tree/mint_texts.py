"""The files in `mint/`, in memory: texts to be minted, and those that were."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from provenafs.errors import FSError
from provenafs.tree.draft import Draft
from provenafs.tree.memory import DocumentMemory, Held
from provenafs.tree.scratch import ScratchFiles


@dataclass(frozen=True, slots=True)
class Minted:
    """A text that is a dataset now."""

    handle: str
    text: bytes
    held: Held
    mtime_ns: int  # nanoseconds since the epoch

    def refusal(self) -> FSError:
        """The error for a change to it."""
        return FSError(errno.EACCES, f"already minted as {self.handle}: change its metadata there")


class MintTexts:
    """The files of `mint/` by inode number, as long as the mount lives."""

    def __init__(self, memory: DocumentMemory) -> None:
        self.drafts: dict[int, Draft] = {}
        self.minted: dict[int, Minted] = {}
        self.scratch = ScratchFiles(memory)

    def has(self, ino: int) -> bool:
        """Whether an inode is a file of the user's."""
        return ino in self.drafts or ino in self.minted or self.scratch.get(ino) is not None

    def drop(self, ino: int) -> None:
        """Forget a file that is no dataset."""
        self.drafts.pop(ino, None)
        self.scratch.drop(ino)
