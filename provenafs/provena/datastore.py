"""The data store API: datasets, their metadata, releases, and keys to their files."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ProvenaInterfaces.DataStoreAPI import (
    CredentialResponse,
    CredentialsRequest,
    MintResponse,
    PresignedURLResponse,
)
from pydantic import BaseModel

from provenafs.printable import printable
from provenafs.provena.auth import TokenSource
from provenafs.provena.errors import UNUSABLE, Invalid, NotFound, Released, Unavailable
from provenafs.provena.handles import has_name
from provenafs.provena.pages import Page, PageKey, pages
from provenafs.provena.reading import text_or_none
from provenafs.provena.records import DatasetRecord, FetchedDataset, S3Location, records_of
from provenafs.provena.registry import Registry
from provenafs.provena.service import ServiceClient
from provenafs.provena.transport import Transport, one_line

log = logging.getLogger(__name__)

Access = Literal["read", "write"]

_UNKNOWN = {400: NotFound}
_ISSUING = {400: NotFound, 403: Released}


@dataclass(frozen=True, slots=True)
class Minted:
    """A dataset just registered. `session_id` is the job that records its creation."""

    handle: str
    s3: S3Location
    session_id: str | None


@dataclass(frozen=True, slots=True)
class Versioned:
    """A new version just made. `session_id` is the job that records its creation."""

    handle: str
    session_id: str | None


class DataStore(ServiceClient):
    """The data store API on behalf of one user."""

    def __init__(
        self,
        name: str,
        url: str,
        transport: Transport,
        tokens: TokenSource,
        registry: Registry,
    ) -> None:
        """`registry` lists what this API cannot."""
        super().__init__(name, url, transport, tokens)
        self._registry = registry

    async def fetch(self, handle: str) -> FetchedDataset:
        """A dataset with this user's roles and the lock; raises NotFound, Unauthorised."""
        with _naming(handle):
            document = await self.call(
                "GET",
                "/registry/items/fetch-dataset",
                params={"handle_id": handle},
                errors=_UNKNOWN,
            )
            answer = self.succeeded(document, NotFound)
        try:
            record = DatasetRecord.from_item(answer.get("item"))
        except ValueError as error:
            raise Unavailable(
                f"the record of {printable(handle)} cannot be used: {error}", UNUSABLE
            ) from error
        if record.id != handle:
            raise Unavailable(
                f"{self._name} returned another dataset than {printable(handle)}", UNUSABLE
            )
        roles = answer.get("roles")
        known = frozenset(filter(None, map(text_or_none, roles if isinstance(roles, list) else [])))
        return FetchedDataset(record, known, bool(answer.get("locked")))

    async def list_all(
        self, left_out: Callable[[str], None] | None = None
    ) -> AsyncIterator[DatasetRecord]:
        """Every dataset whose metadata the user may read, oldest first.

        A page that this API refuses because of one row it cannot parse is read from the registry,
        so that it hides none of the others; `left_out` is called with rows that cannot be used
        (default: they are logged). A record changed meanwhile keeps its place: the order is by
        time of creation.
        """
        async for page in pages(self._list_page, self._registry.list_page):
            for record in records_of(page.items, left_out or _warn):
                yield record

    async def mint(self, collection_format: dict[str, Any]) -> Minted:
        """Register a dataset; sent once only.

        Raises Invalid with the service's reason. After Unavailable it may have been registered.
        """
        document = await self.call(
            "POST", "/register/mint-dataset", json=collection_format, idempotent=False
        )
        answer = self.parsed(MintResponse, document)
        # A failure that names a handle is one of the job that records the creation: the dataset is
        # there.
        if not answer.handle or answer.s3_location is None:
            self.succeeded(document)
            raise Unavailable(f"{self._name} returned no handle for the new dataset", UNUSABLE)
        self._check_name(answer.handle)
        return Minted(
            answer.handle,
            S3Location(answer.s3_location.bucket_name, answer.s3_location.path),
            answer.register_create_activity_session_id,
        )

    async def validate(self, collection_format: dict[str, Any]) -> None:
        """Raises Invalid with the service's reason if it would not take this metadata."""
        status = await self.call("POST", "/metadata/validate-metadata", json=collection_format)
        self.succeeded({"status": status})

    async def schema(self) -> dict[str, Any]:
        """The JSON schema of a CollectionFormat."""
        document = await self.call("GET", "/metadata/dataset-schema")
        return self.object_in(self.object_in(document).get("json_schema"))

    async def update_metadata(
        self, handle: str, collection_format: dict[str, Any], reason: str
    ) -> None:
        """Replace the metadata; adds a history entry. Raises Invalid, Locked, Unauthorised."""
        _demand_reason(reason)
        await self.call(
            "POST",
            "/register/update-metadata",
            params={"handle_id": handle, "reason": reason},
            json=collection_format,
            idempotent=False,
        )

    async def revert_metadata(self, handle: str, history_id: int, reason: str) -> None:
        """Take the metadata of a history entry again; adds a history entry."""
        _demand_reason(reason)
        document = await self.call(
            "PUT",
            "/register/revert-metadata",
            json={"id": handle, "history_id": history_id, "reason": reason},
            idempotent=False,
        )
        self.succeeded(document)

    async def version(self, handle: str, reason: str) -> Versioned:
        """Make a new version, without files; sent once only.

        After Unavailable it may exist: check the old record's `next_version`.
        """
        _demand_reason(reason)
        document = await self.call(
            "POST",
            "/register/version",
            json={"id": handle, "reason": reason},
            idempotent=False,
        )
        answer = self.parsed(_VersionAnswer, document)
        self._check_name(answer.new_version_id)
        return Versioned(answer.new_version_id, answer.version_job_session_id)

    async def credentials(
        self, handle: str, access: Access, *, console: bool = False
    ) -> CredentialResponse:
        """Temporary keys to the dataset's files, and on demand a link to the S3 console.

        Raises NotFound, Unauthorised, and for writing Locked and Released.
        """
        request = CredentialsRequest(dataset_id=handle, console_session_required=console)
        with _naming(handle):
            document = await self.call(
                "POST",
                f"/registry/credentials/generate-{access}-access-credentials",
                json=request.model_dump(),
                errors=_ISSUING,
            )
        answer = self.parsed(CredentialResponse, self.succeeded(document))
        keys = answer.credentials
        self.secret("aws_access_key_id", keys.aws_access_key_id)
        self.secret("aws_secret_access_key", keys.aws_secret_access_key)
        self.secret("aws_session_token", keys.aws_session_token)
        if answer.console_session_url is not None:
            self.secret("console_session_url", answer.console_session_url)
        return answer

    async def presigned_url(self, handle: str, file_path: str, expires_in: int) -> str:
        """A link to download one file, good for 1 to 86,400 seconds. A secret."""
        document = await self.call(
            "POST",
            "/registry/items/generate-presigned-url",
            json={"dataset_id": handle, "file_path": file_path, "expires_in": expires_in},
        )
        url = self.parsed(PresignedURLResponse, document).presigned_url
        return self.secret("presigned_url", url)

    async def reviewers(self) -> list[str]:
        """The Person handles of the system's reviewers."""
        document = await self.call("GET", "/release/sys-reviewers/list")
        if not isinstance(document, list):
            raise self.unknown_form()
        return sorted(filter(None, map(text_or_none, document)))

    async def add_reviewer(self, person: str) -> None:
        """Make a Person a reviewer; again is no error."""
        await self.call("POST", "/release/sys-reviewers/add", params={"reviewer_id": person})

    async def remove_reviewer(self, person: str) -> None:
        """Make a Person no reviewer; an unknown one is no error."""
        await self.call("DELETE", "/release/sys-reviewers/delete", params={"reviewer_id": person})

    async def request_release(self, handle: str, reviewer: str, notes: str) -> str:
        """Ask a reviewer to approve the release, once; gives the service's words.

        After Unavailable the dataset may be pending: check its record.
        """
        document = await self.call(
            "POST",
            "/release/approval-request",
            json={"dataset_id": handle, "approver_id": reviewer, "notes": notes},
            idempotent=False,
        )
        return _details(document)

    async def decide_release(self, handle: str, notes: str, *, approve: bool) -> str:
        """Approve or reject a release that this user was asked for; gives the service's words.

        After Unavailable it may be decided: check its record.
        """
        document = await self.call(
            "PUT",
            "/release/action-approval-request",
            json={"dataset_id": handle, "approve": approve, "notes": notes},
            idempotent=False,
        )
        return _details(document)

    def _check_name(self, handle: str) -> None:
        if not has_name(handle):
            raise Unavailable(
                f"{self._name} returned a new handle that cannot be a directory's name", UNUSABLE
            )

    async def _list_page(self, key: PageKey | None, size: int) -> Page:
        return await self.page("/registry/items/list", key, size)


# That of ProvenaInterfaces.RegistryAPI takes a fifth of a second to import, at every mount.
class _VersionAnswer(BaseModel):
    new_version_id: str
    version_job_session_id: str | None = None


@contextmanager
def _naming(handle: str) -> Iterator[None]:
    """Say plainly what the service wraps in its own affairs."""
    try:
        yield
    except NotFound:
        raise NotFound(f"there is no dataset '{printable(handle)}'") from None


def _demand_reason(reason: str) -> None:
    # The service fails on an empty one, or lets the history lose its why.
    if not reason.strip():
        raise Invalid("a reason is needed")


def _warn(why: str) -> None:
    log.warning("a dataset is left out of the list: %s", why)


def _details(document: object) -> str:
    return one_line(str(document.get("details") or "")) if isinstance(document, dict) else ""
