"""Exceptions of the S3 layer.

S3Error
├── NoSuchKey            the object (or upload) is not there
├── PreconditionFailed   If-Match / If-None-Match did not hold: another client changed the object
├── AccessDenied         the credentials do not allow it
├── ClockSkewed          this machine's clock is too far from the server's
└── Unavailable          no usable answer within the deadline: 5xx, SlowDown, cut or stalled
    └── BadAnswer        an answer that proves nothing, or contradicts what is known
"""

from __future__ import annotations

from provenafs.errors import Transient


class S3Error(Exception):
    """Base of all S3 failures; its text names the operation and the key, never a credential."""


class NoSuchKey(S3Error):
    """The object or upload does not exist."""


class PreconditionFailed(S3Error):
    """412, 416, or 409 on a conditional write: the object is not the one we know."""


class AccessDenied(S3Error):
    """403 that fresh credentials did not cure."""


class ClockSkewed(S3Error):
    """RequestTimeTooSkewed: signatures made with this machine's clock are refused."""


class Unavailable(S3Error):
    """No usable answer in time, after the retries."""


class BadAnswer(Unavailable):
    """A success that does not show what it claims: tried again, but not for long."""


def is_transient(error: Exception) -> bool:
    """Whether a failure is temporary: the network, the server, a timeout."""
    return isinstance(error, (Unavailable, Transient))
