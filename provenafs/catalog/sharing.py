"""Share links and temporary credentials for a dataset's files."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import trio

from provenafs.provena.datastore import Access, DataStore
from provenafs.provena.errors import Invalid, NotFound
from provenafs.provena.records import S3Location

LONGEST_LINK_S = 24 * 3600
USUAL_LINK_S = 3 * 3600
KEYS_LAST_S = 8 * 3600
"""A link dies with the keys it was signed with, whatever was asked for."""

# Whoever asks for an xattr asks twice, for its length and for its text: both have to fit.
_LINK_KEPT_S = 30.0
_MISSING = "does not exist in dataset"


@dataclass(frozen=True, slots=True)
class Keys:
    """Temporary keys to one dataset's files. All but the location is secret."""

    location: S3Location
    expiry: datetime
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    console_url: str | None = field(repr=False)

    @property
    def address(self) -> str:
        """Where the files are, as S3 tools write it."""
        return f"s3://{self.location.bucket_name}/{self.location.path}"


async def share(datastore: DataStore, handle: str, path: str, seconds: int) -> str:
    """A link with which anybody can download one file, good for 1 to 86,400 seconds. A secret.

    Raises Invalid for a path or time that is not taken, NotFound for a file that is not there,
    Unauthorised without the role dataset-data-read.
    """
    if not 1 <= seconds <= LONGEST_LINK_S:
        raise Invalid(f"a link can be valid for 1 second to 24 hours, not for {seconds} seconds")
    if not path:
        raise Invalid("a link is to one file: name a file below the dataset's data directory")
    try:
        return await datastore.presigned_url(handle, path, seconds)
    except Invalid as error:
        if _MISSING in str(error):
            raise NotFound(f"{handle} has no file '{path}'") from None
        raise Invalid(f"the data store gives no link to '{path}': {error}") from None


class Links:
    """Links of the usual length; one that was just made is given once more."""

    def __init__(self, datastore: DataStore) -> None:
        self._datastore = datastore
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    async def get(self, handle: str, path: str) -> str:
        """A link to one file, a secret; raises as `share` does."""
        now = trio.current_time()
        self._kept = {of: kept for of, kept in self._kept.items() if now < kept[0]}
        kept = self._kept.get((handle, path))
        if kept is not None:
            return kept[1]
        url = await share(self._datastore, handle, path, USUAL_LINK_S)
        self._kept[handle, path] = (trio.current_time() + _LINK_KEPT_S, url)
        return url


async def issue_keys(
    datastore: DataStore, handle: str, access: Access, *, console: bool = False
) -> Keys:
    """Keys to a dataset's files, on demand with a link to the S3 console.

    Raises NotFound, Unauthorised, and for writing Locked and Released.
    """
    location = (await datastore.fetch(handle)).record.s3
    answer = await datastore.credentials(handle, access, console=console)
    issued = answer.credentials
    return Keys(
        location=location,
        expiry=issued.expiry,
        access_key_id=issued.aws_access_key_id,
        secret_access_key=issued.aws_secret_access_key,
        session_token=issued.aws_session_token,
        console_url=answer.console_session_url,
    )
