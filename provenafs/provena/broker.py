"""Temporary S3 credentials per dataset and scope, issued on demand and shared until they expire."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime

import trio

from provenafs.provena.datastore import Access, DataStore
from provenafs.provena.errors import ProvenaError

log = logging.getLogger(__name__)

_EARLIEST_RENEWAL_S = 600.0
_RENEWAL_FRACTION = 0.1
_FAILURE_KEPT_S = 2.0
# Keys that have expired on arrival, according to this machine's clock, are used for so long all
# the same: whether they are good is for S3 to say, and asking again would bring more of them.
_OVER_KEPT_S = 60.0
_SHORTEST_LIFE_S = 5.0
# Keys that replaced refused ones and are refused too will not get better by being replaced.
_REPLACEMENT_TRUSTED_S = 60.0
_SLOTS = 512


@dataclass(frozen=True, slots=True)
class IssuedCredentials:
    """Keys to one dataset's files. Their repr shows no secret."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"IssuedCredentials(expires_at={self.expires_at.isoformat()})"


class CredentialBroker:
    """Keys by dataset and access, in memory only.

    Of several tasks that need the same keys one asks for them and the others wait. Keys are
    replaced ten minutes before they expire, or a tenth of their life if that is shorter. Keys
    that are over when they come are kept for a minute, unless S3 refuses them.
    """

    def __init__(self, datastore: DataStore) -> None:
        self._datastore = datastore
        self._slots: OrderedDict[tuple[str, Access], _Slot] = OrderedDict()

    async def get(
        self, handle: str, access: Access, rejected: str | None = None
    ) -> IssuedCredentials:
        """Keys for `access` to the dataset; `rejected` is the access key id that S3 has refused.

        Refused keys are replaced once: if S3 refuses the new ones as well, those are given again
        for a minute. Raises NotFound, Unauthorised, Locked, Released, Unavailable.
        """
        slot = self._slot(handle, access)
        async with slot.lock:
            if slot.credentials is not None and slot.is_good(rejected):
                return slot.credentials
            if slot.failure is not None and trio.current_time() < slot.failure_until:
                raise type(slot.failure)(*slot.failure.args)
            return await self._issue(slot, handle, access, rejected)

    def _slot(self, handle: str, access: Access) -> _Slot:
        slot = self._slots.setdefault((handle, access), _Slot())
        self._slots.move_to_end((handle, access))
        if len(self._slots) > _SLOTS:
            self._slots.popitem(last=False)
        return slot

    async def _issue(
        self, slot: _Slot, handle: str, access: Access, rejected: str | None
    ) -> IssuedCredentials:
        try:
            answer = (await self._datastore.credentials(handle, access)).credentials
        except ProvenaError as error:
            slot.failure = error
            slot.failure_until = trio.current_time() + _FAILURE_KEPT_S
            raise
        expires_at = answer.expiry
        if expires_at.tzinfo is None:
            expires_at = expires_at.replace(tzinfo=UTC)
        credentials = IssuedCredentials(
            answer.aws_access_key_id,
            answer.aws_secret_access_key,
            answer.aws_session_token,
            expires_at,
        )
        slot.keep(credentials, is_replacement=rejected is not None)
        slot.tell_if_over(handle)
        return credentials


@dataclass(slots=True, eq=False)
class _Slot:
    """The keys of one dataset and access; the lock guards the rest. Times in seconds, trio's."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    credentials: IssuedCredentials | None = None
    renew_at: float = 0.0
    trusted_until: float = 0.0
    is_over: bool = False
    is_told: bool = False
    failure: ProvenaError | None = None
    failure_until: float = 0.0

    def keep(self, credentials: IssuedCredentials, *, is_replacement: bool) -> None:
        now = trio.current_time()
        lifetime = (credentials.expires_at - datetime.now(UTC)).total_seconds()
        self.credentials = credentials
        early = min(_EARLIEST_RENEWAL_S, lifetime * _RENEWAL_FRACTION)
        self.is_over = lifetime < _SHORTEST_LIFE_S
        self.renew_at = now + (_OVER_KEPT_S if self.is_over else lifetime - early)
        self.trusted_until = now + _REPLACEMENT_TRUSTED_S if is_replacement else now
        self.failure = None

    def tell_if_over(self, handle: str) -> None:
        """Say it once, until keys come that are not over."""
        if self.is_over and not self.is_told:
            assert self.credentials is not None
            log.warning(
                "%s: the keys that were issued expired at %s: check this machine's"
                " clock; they are used as they are",
                handle, self.credentials.expires_at.isoformat(),
            )  # fmt: skip
        self.is_told = self.is_over

    def is_good(self, rejected: str | None) -> bool:
        assert self.credentials is not None
        now = trio.current_time()
        if now >= self.renew_at:
            return False
        return self.credentials.access_key_id != rejected or now < self.trusted_until
