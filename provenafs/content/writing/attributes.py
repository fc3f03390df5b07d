"""The times and the mode of a file that is open."""

from __future__ import annotations

import time
from dataclasses import dataclass

from provenafs.content.listing.index import Entry


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes that a user sets: mtime in nanoseconds since the epoch, permission bits.

    None is what the object has, or would have.
    """

    mtime_ns: int | None = None
    mode: int | None = None


class FileAttributes:
    """The attributes of one file, and those to store with its object. Times as in `Attributes`."""

    def __init__(self, entry: Entry) -> None:
        self.mtime_ns = entry.mtime_ns
        self.ctime_ns: int | None = entry.shown_ctime_ns
        self.mode = entry.mode
        self._is_time_given = False  # by the user, and nothing was written since

    @property
    def to_store(self) -> Attributes:
        """The attributes to store with the object."""
        return Attributes(self.mtime_ns, self.mode)

    def give(self, mtime_ns: int | None, mode: int | None) -> dict[str, int]:
        """Set what the user has given; returns what the index has to know of it."""
        self.ctime_ns = time.time_ns()
        given = {"ctime_ns": self.ctime_ns}
        if mtime_ns is not None:
            self.mtime_ns, self._is_time_given = mtime_ns, True
            given["mtime_ns"] = mtime_ns
        if mode is not None:
            self.mode = mode
            given["mode"] = mode
        return given

    def written(self) -> None:
        """The bytes were changed now."""
        self.mtime_ns = self.ctime_ns = time.time_ns()
        self._is_time_given = False

    def stored(self) -> None:
        """The bytes are an object: one without a time has that of its storing."""
        if self.mtime_ns is None:
            self.mtime_ns = self.ctime_ns = time.time_ns()

    def are_in(self, stored: Attributes) -> bool:
        """Whether an object that was made with `stored` has all that the user has given."""
        is_time_there = not self._is_time_given or stored.mtime_ns == self.mtime_ns
        return is_time_there and stored.mode == self.mode
