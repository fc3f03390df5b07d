"""Failures of Provena services.

ProvenaError
├── Unauthorised   401: missing realm role, or no role on the item
│   └── LoginRequired   there is no usable token and none can be had without the user
├── NotFound       400 for an unknown or empty handle (the service never answers 404 for one)
├── Locked         401 because the dataset is locked
├── Released       403: write access to a dataset that is pending review or released
├── Invalid        400, 422 or `success: false`: what was sent is not acceptable
└── Unavailable    no usable answer in time: 5xx, 429, unreachable host, an unusable body
    └── TooLong         an answer of more bytes than are taken
"""

from __future__ import annotations

UNUSABLE = 200
"""The status of an Unavailable whose answer came in time, but is of no use."""


class ProvenaError(Exception):
    """Base of all service failures. The text is one sentence, filtered of credentials."""


class Unauthorised(ProvenaError):
    """The service refuses this user, or this token."""


class LoginRequired(Unauthorised):
    """No usable token: the user has to run `provenafs login`."""


class NotFound(ProvenaError):
    """No dataset has this handle."""


class Locked(ProvenaError):
    """The dataset is locked."""


class Released(ProvenaError):
    """The dataset is pending review or released; its files cannot change."""


class Invalid(ProvenaError):
    """The service refuses what was sent."""


class Unavailable(ProvenaError):
    """No usable answer within the deadline, after the retries.

    `status` is the last HTTP status, None if there was no answer. A request that changes something
    may have been carried out all the same.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TooLong(Unavailable):
    """An answer of more bytes than are taken."""

    def __init__(self, message: str, status: int | None = UNUSABLE) -> None:
        super().__init__(message, status)
