"""Which keys can be files, and the directory tree of a key listing. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from provenafs.content.listing.index import Listed
from provenafs.s3.types import ListPage, ObjectInfo

_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class UnrepresentableKey:
    """A key that cannot be shown as a file, and why."""

    key: str
    reason: str


@dataclass(slots=True)
class Children:
    """The children of one directory in a page; `prefix` ends in a slash."""

    prefix: str
    listed: list[Listed] = field(default_factory=list)
    unfit: list[UnrepresentableKey] = field(default_factory=list)


IsHidden = Callable[[str], bool]


def unfit_reason(name: str) -> str | None:
    """Why no file or directory can have this name; None if it can."""
    if name == "":
        return "a part of the key is empty"
    if name in (".", ".."):
        return f"a part of the key is '{name}'"
    if "\0" in name:
        return "the key has a NUL character"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"a part of the key is longer than {_MAX_NAME_BYTES} bytes"
    return None


class ChildrenOfPage:
    """Turns the pages of one directory's delimited LIST into its children, in byte order."""

    def __init__(self, prefix: str, is_hidden: IsHidden) -> None:
        """`prefix` ends in a slash."""
        self._prefix = prefix
        self._is_hidden = is_hidden
        self._shadows = _Shadows()

    def feed(self, page: ListPage) -> Children:
        """The children that a page names."""
        found = Children(self._prefix)
        entries: list[tuple[str, ObjectInfo | None]] = [(item.key, item) for item in page.objects]
        entries += [(key, None) for key in page.prefixes]
        entries.sort(key=itemgetter(0))
        for key, item in entries:
            if item is None:
                self._shadows.directory(key[len(self._prefix) : -1], found)
            elif key != self._prefix and not self._is_hidden(key):
                self._shadows.file(key[len(self._prefix) :], item, found)
        return found


class TreeFromKeys:
    """Turns an undelimited listing, whose keys come in byte order, into directories.

    A directory is complete once a key after all its own has come; those that began before the
    first key asked for never are.
    """

    def __init__(self, prefix: str, start: str, is_hidden: IsHidden) -> None:
        """All below `prefix` is listed, from the directory `start` on; both end in a slash."""
        self._start = start
        self._is_hidden = is_hidden
        # The directories that the last key is in, outermost first.
        self._open = [(prefix, _Shadows())]

    def feed(self, objects: Iterable[ObjectInfo]) -> tuple[list[Children], list[str]]:
        """The children in a page, parents before their content, and the completed directories."""
        found: dict[str, Children] = {}
        complete: list[str] = []
        for item in objects:
            while not item.key.startswith(self._open[-1][0]):
                complete.append(self._open.pop()[0])
            self._descend(item, found)
        return list(found.values()), [prefix for prefix in complete if prefix >= self._start]

    def finish(self) -> list[str]:
        """The last page has come: the directories that are complete now."""
        complete = [prefix for prefix, _ in reversed(self._open) if prefix >= self._start]
        self._open = []
        return complete

    def _descend(self, item: ObjectInfo, found: dict[str, Children]) -> None:
        while True:
            prefix, shadows = self._open[-1]
            into = found.setdefault(prefix, Children(prefix))
            name, slash, _ = item.key[len(prefix) :].partition("/")
            if not slash:
                if name and not self._is_hidden(item.key):
                    shadows.file(name, item, into)
                return
            if not shadows.directory(name, into, item.key):
                return
            self._open.append((prefix + name + "/", _Shadows()))


class _Shadows:
    """Adds the children of one directory, which come in byte order; a directory wins over a file.

    Between `name` and `name/` only keys that begin with `name` can come, so few are remembered.
    """

    def __init__(self) -> None:
        self._files: list[tuple[str, str]] = []  # names that the last one began with; their keys

    def file(self, name: str, item: ObjectInfo, into: Children) -> None:
        """Add an object."""
        if _fits(name, item.key, into):
            self._trim(name)
            self._files.append((name, item.key))
            into.listed.append(
                Listed(name, item.size, item.etag, item.modified_ns, item.storage_class)
            )

    def directory(self, name: str, into: Children, key: str | None = None) -> bool:
        """Add a directory; False if it cannot be shown. `key` is the one that implies it."""
        if not _fits(name, key or f"{into.prefix}{name}/", into):
            return False
        self._trim(name)
        if self._files and self._files[-1][0] == name:
            _, shadowed = self._files.pop()
            into.unfit.append(UnrepresentableKey(shadowed, "a directory has the same name"))
            into.listed = [listed for listed in into.listed if listed.name != name]
        into.listed.append(Listed(name))
        return True

    def _trim(self, name: str) -> None:
        while self._files and not name.startswith(self._files[-1][0]):
            self._files.pop()


def _fits(name: str, key: str, into: Children) -> bool:
    reason = unfit_reason(name)
    if reason is None:
        return True
    into.unfit.append(UnrepresentableKey(key, reason))
    return False
