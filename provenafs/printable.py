"""Escapes foreign text for a line of a log, a terminal or a small file.

Keys, names and the words of services may hold anything: what would move the cursor, change the
order of the letters or begin a line that nobody wrote is shown as an escape.
"""

from __future__ import annotations

import logging
import re
from types import TracebackType

# C0, DEL and C1, marks and overrides of direction, line separators, and halves of surrogates.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_UNFIT_IN_JSON = re.compile(_UNFIT.pattern.replace("\x00-\x1f", ""))


def printable(text: str) -> str:
    """A text that stays on its line and in its order: control characters as escapes."""
    return _UNFIT.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable_json(document: str) -> str:
    """An equivalent JSON document with such characters as JSON escapes."""
    return _UNFIT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def is_printable(text: str) -> bool:
    """Whether a text can be shown as it is."""
    return _UNFIT.search(text) is None


class LineFormatter(logging.Formatter):
    """One line per record; the lines of a traceback are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line."""
        return printable(super().formatMessage(record))

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """The traceback, which quotes texts of others too."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))
