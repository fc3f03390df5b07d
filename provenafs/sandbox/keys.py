"""Temporary keys for one dataset's folder, and links signed with them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import HTTPException

from provenafs.sandbox.datastore import DataStore, location_of
from provenafs.sandbox.errors import Crash
from provenafs.sandbox.kinds import ItemRole, ReleaseStatus
from provenafs.sandbox.messages import (
    CredentialsAnswer,
    CredentialsRequest,
    DatasetFetchAnswer,
    IssuedCredentials,
    PresignAnswer,
    PresignRequest,
    succeeded,
)
from provenafs.sandbox.records import ItemDataset
from provenafs.sandbox.storage import Credentials, ObjectStorage, StorageError
from provenafs.sandbox.users import User

_WRITE_ACTIONS = (
    "s3:GetObject*",
    "s3:DeleteObject*",
    "s3:PutObject",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:Abort*",
)
# The real policy also names s3:ListMultipartUploads, which is no action of IAM's: AWS passes over
# it, the gateway would refuse the whole policy.
_LIST_ACTIONS = ("s3:ListBucketMultipartUploads", "s3:ListBucketVersions", "s3:ListBucket")
_READERS = {ItemRole.DATA_READ, ItemRole.DATA_WRITE, ItemRole.ADMIN}
_WRITERS = {ItemRole.DATA_WRITE, ItemRole.ADMIN}
_FORBIDDEN_IN_PATHS = ("../", "/../", "..", "//", "\\", "\\\\")


class Keys:
    """Issues temporary credentials, with the checks in the data store's order."""

    def __init__(self, datastore: DataStore, storage: ObjectStorage, lifetime_s: int) -> None:
        self._datastore = datastore
        self._storage = storage
        self._lifetime_s = lifetime_s

    async def for_reading(self, user: User, request: CredentialsRequest) -> CredentialsAnswer:
        """Keys that read the dataset's folder; lock and release do not matter."""
        fetched = self._datastore.fetch(user, request.dataset_id)
        if not _READERS & set(fetched.roles or ()):
            raise HTTPException(
                401, "You do not have sufficient permissions to read from this dataset!"
            )
        return await self._answer(user, fetched, request, write=False)

    async def for_writing(self, user: User, request: CredentialsRequest) -> CredentialsAnswer:
        """Keys that also write it; not while it is locked, under review or released."""
        fetched = self._datastore.fetch(user, request.dataset_id)
        if fetched.locked:
            raise HTTPException(
                401, "This dataset is locked - you cannot modify the files until it is unlocked."
            )
        if not _WRITERS & set(fetched.roles or ()):
            raise HTTPException(
                401, "You do not have sufficient permissions to write to this dataset!"
            )
        if _item_of(fetched).release_status is not ReleaseStatus.NOT_RELEASED:
            raise HTTPException(
                403,
                f"Dataset {request.dataset_id} is pending review or is released."
                " Its files cannot be modified.",
            )
        return await self._answer(user, fetched, request, write=True)

    async def presigned_url(self, user: User, request: PresignRequest) -> PresignAnswer:
        """A link to download one file of the dataset."""
        try:
            fetched = self._datastore.fetch(user, request.dataset_id)
        except HTTPException as error:
            detail = f"Failed to generate presigned url. Error: {error.detail}"
            raise HTTPException(error.status_code, detail) from error
        if ItemRole.DATA_READ not in (fetched.roles or ()):
            raise HTTPException(
                401, "You do not have sufficient permissions to read from this dataset!"
            )
        for forbidden in _FORBIDDEN_IN_PATHS:
            if forbidden in request.file_path:
                raise HTTPException(
                    400,
                    f"File path '{request.file_path}' contains '{forbidden}' which is not allowed.",
                )
        path = location_of(self._storage.bucket, request.dataset_id).path
        url = await self._signed(user, path, path + request.file_path, request)
        return PresignAnswer(
            dataset_id=request.dataset_id, file_path=request.file_path, presigned_url=url
        )

    async def _signed(self, user: User, path: str, key: str, request: PresignRequest) -> str:
        try:
            if _is_folded(request.file_path) or not await self._storage.head(key):
                raise HTTPException(
                    400,
                    f"File path '{request.file_path}' does not exist in dataset"
                    f" {request.dataset_id}.",
                )
            policy = session_policy(self._storage.bucket, path, write=False)
            session = await self._storage.assume_role(
                policy, "presigned-url-generation", self._lifetime_s
            )
            return await self._storage.presigned_get_url(key, session, request.expires_in, key)
        except StorageError as error:
            raise Crash from error

    async def _answer(
        self,
        user: User,
        fetched: DatasetFetchAnswer,
        request: CredentialsRequest,
        *,
        write: bool,
    ) -> CredentialsAnswer:
        location = _item_of(fetched).s3
        policy = session_policy(location.bucket_name, location.path, write=write)
        session_name = f"{user.username},{'write' if write else 'read'}-prog-bucket-access"
        try:
            session = await self._storage.assume_role(policy, session_name, self._lifetime_s)
        except StorageError as error:
            raise HTTPException(500, f"Failed to generate credentials: {error}") from error
        return CredentialsAnswer(
            status=succeeded("STS credentials generated successfully for specified path."),
            credentials=_issued(session),
            console_session_url=_console_url(location.bucket_name, location.path)
            if request.console_session_required
            else None,
        )


def _is_folded(path: str) -> bool:
    """Whether a key of this end cannot exist in the gateway, which would look for another one.

    It folds what S3 keeps apart: a slash at the beginning, and components that are a dot.
    """
    return path.startswith("/") or "." in path.split("/")


def session_policy(bucket: str, path: str, *, write: bool) -> dict[str, Any]:
    """The session policy for one folder: its objects, and listing the whole bucket."""
    whole = f"arn:aws:s3:::{bucket}"
    folder = f"{whole}/{path.rstrip('/')}"
    objects, listed = [folder, f"{folder}/", f"{folder}/*"], [whole, f"{whole}/*"]
    statements = [_allow(["s3:GetObject*"], objects), _allow(list(_LIST_ACTIONS), listed)]
    if write:
        statements.insert(0, _allow(list(_WRITE_ACTIONS), objects))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _item_of(fetched: DatasetFetchAnswer) -> ItemDataset:
    assert fetched.item is not None
    return fetched.item


def _issued(session: Credentials) -> IssuedCredentials:
    return IssuedCredentials(
        aws_access_key_id=session.access_key_id,
        aws_secret_access_key=session.secret_access_key,
        aws_session_token=session.session_token,
        expiry=session.expiration,
    )


def _console_url(bucket: str, path: str) -> str:
    """A sign-in address of the real one's form; the sandbox has no console."""
    destination = (
        f"https://s3.console.aws.amazon.com/s3/buckets/{bucket}"
        f"?region=ap-southeast-2&prefix={quote(path)}"
    )
    query = {"Action": "login", "Destination": destination, "SigninToken": "sandbox"}
    return f"https://signin.aws.amazon.com/federation?{urlencode(query)}"
