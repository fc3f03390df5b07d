"""When to check whether a request without a response was carried out."""

from __future__ import annotations

from provenafs.provena.errors import Unavailable

# Without an answer the service may still be at work: its own limit is 20 s.
_MAY_BE_AT_WORK = frozenset({None, 502, 504})
_PAUSES_S = (0.0, 1.0, 3.0, 6.0, 12.0)


def pauses_before_looks(error: Unavailable) -> tuple[float, ...]:
    """Seconds to wait before each look."""
    return _PAUSES_S if error.status in _MAY_BE_AT_WORK else _PAUSES_S[:1]
