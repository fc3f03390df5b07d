"""The S3 server of the sandbox: a `juicefs gateway` process, with its STS, over one folder.

The process answers on loopback only and dies with the one that started it, however that ends. Its
metadata is in Badger: every write of an object takes several transactions, which in SQLite cost
twice the processor time.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio
import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import SnowballObject
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.error import MinioException, S3Error

from provenafs import private
from provenafs.s3.types import Credentials as SigningKeys
from provenafs.sandbox.errors import SandboxError
from provenafs.sandbox.process import end
from provenafs.sandbox.storage import Credentials, StorageError

BUCKET = "provena-storage"
REGION = "ap-southeast-2"
_CONNECTIONS = 16
_START_DEADLINE_S = 30
_STOP_DEADLINE_S = 10
_POLL_S = 0.05
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_POLICY_NAME = "everything"
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}],
}
_NEVER = datetime.max.replace(tzinfo=UTC)
_VOLUME = "sandbox"
_PR_SET_PDEATHSIG = 1

Result = TypeVar("Result")


class GatewayError(SandboxError):
    """The S3 server could not be started, or has ended."""


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """The two permanent accounts: root, and the one that hands out temporary keys."""

    root_user: str
    root_password: str
    service_user: str
    service_secret: str

    def __repr__(self) -> str:
        return f"GatewayKeys(root_user={self.root_user!r}, service_user={self.service_user!r})"


class Gateway:
    """One bucket of a running S3 server: the sandbox's ObjectStorage."""

    bucket = BUCKET

    def __init__(self, port: int, keys: GatewayKeys, process: subprocess.Popen[bytes]) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        """Where S3 and STS answer, without a slash at the end."""
        self.address = ("127.0.0.1", port)
        self._address = f"127.0.0.1:{port}"
        self._keys = keys
        self._process = process
        self._issued: dict[str, Credentials] = {}
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS, timeout=_TIMEOUT, retries=False)
        self._client = self._client_as(keys.root_user, keys.root_password)
        self._limiter = trio.CapacityLimiter(_CONNECTIONS)

    @property
    def owner(self) -> SigningKeys:
        """The account that may do everything."""
        return SigningKeys(self._keys.root_user, self._keys.root_password, "", _NEVER)

    def through(self, port: int) -> Gateway:
        """The same server, reached through what answers on another port."""
        return Gateway(port, self._keys, self._process)

    def issued(self, key_id: str) -> SigningKeys | None:
        """The temporary keys of an id that were issued by this object; None once they expired."""
        keys = self._issued.get(key_id)
        if keys is None or keys.expiration <= datetime.now(UTC):
            return None
        return SigningKeys(
            keys.access_key_id, keys.secret_access_key, keys.session_token, keys.expiration
        )

    async def put(self, key: str, data: bytes, content_type: str | None = None) -> None:
        """Store an object whole, over whatever is there; in parts if it is large."""

        def work() -> None:
            self._client.put_object(
                bucket_name=BUCKET,
                object_name=key,
                data=io.BytesIO(data),
                length=len(data),
                content_type=content_type or "binary/octet-stream",
            )

        await self._in_thread(work)

    async def put_many(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Store small objects, none of them empty, in one request that the server takes apart."""
        packed = [
            SnowballObject(object_name=key, data=io.BytesIO(data), length=len(data))
            for key, data in objects
        ]

        def work() -> None:
            if packed:
                self._client.upload_snowball_objects(bucket_name=BUCKET, object_list=packed)

        await self._in_thread(work)

    async def head(self, key: str) -> bool:
        """Whether an object of exactly this key exists."""

        def work() -> bool:
            try:
                self._client.stat_object(bucket_name=BUCKET, object_name=key)
            except S3Error as error:
                if error.code in ("NoSuchKey", "NoSuchObject"):
                    return False
                raise
            return True

        return await self._in_thread(work)

    async def exists_prefix(self, prefix: str) -> bool:
        """Whether any key begins with this prefix."""

        def work() -> bool:
            found = self._client.list_objects(bucket_name=BUCKET, prefix=prefix, recursive=True)
            return next(iter(found), None) is not None

        return await self._in_thread(work)

    async def assume_role(
        self, policy: dict[str, Any], session_name: str, duration_s: int
    ) -> Credentials:
        """New credentials limited by the session policy, valid for at least an hour."""

        def work() -> Credentials:
            issued = AssumeRoleProvider(
                sts_endpoint=self.endpoint,
                access_key=self._keys.service_user,
                secret_key=self._keys.service_secret,
                duration_seconds=duration_s,
                policy=json.dumps(policy),
                region=REGION,
                role_session_name=session_name,
                http_client=self._pool,
            ).retrieve()
            assert issued.expiration is not None and issued.session_token is not None
            return Credentials(
                access_key_id=issued.access_key,
                expiration=issued.expiration.replace(tzinfo=UTC),
                secret_access_key=issued.secret_key,
                session_token=issued.session_token,
            )

        credentials = await self._in_thread(work)
        self._remember(credentials)
        return credentials

    async def presigned_get_url(
        self, key: str, credentials: Credentials, expires_in_s: int, filename: str
    ) -> str:
        """A URL that downloads `key`, named `filename`, for `expires_in_s` seconds."""
        client = self._client_as(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        )

        def work() -> str:
            url: str = client.presigned_get_object(
                bucket_name=BUCKET,
                object_name=key,
                expires=timedelta(seconds=expires_in_s),
                response_headers={
                    "response-content-disposition": f"attachment; filename={filename}"
                },
            )
            return url

        return await self._in_thread(work)

    async def watch(self) -> None:
        """Wait for as long as the server runs; GatewayError when it has ended by itself."""
        descriptor = os.pidfd_open(self._process.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        raise GatewayError("The S3 server has ended; see gateway.log in its folder.")

    async def prepare(self) -> None:
        """Make the bucket and the account that may assume roles, where they are missing."""
        await self._in_thread(self._make_bucket)
        try:
            await self.assume_role(_POLICY, "ready", 3600)
        except StorageError:
            await self._in_thread(self._make_service_account)
            await self.assume_role(_POLICY, "ready", 3600)

    def _remember(self, credentials: Credentials) -> None:
        now = datetime.now(UTC)
        for key_id, keys in list(self._issued.items()):
            if keys.expiration <= now:
                del self._issued[key_id]
        self._issued[credentials.access_key_id] = credentials

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        except S3Error as error:
            raise StorageError(f"The S3 server answered {error.code}.") from None
        except (MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise StorageError(f"The S3 server failed ({type(error).__name__}).") from None

    def _client_as(self, user: str, password: str, session_token: str | None = None) -> Minio:
        return Minio(
            endpoint=self._address,
            access_key=user,
            secret_key=password,
            session_token=session_token,
            secure=False,
            region=REGION,
            http_client=self._pool,
        )

    def _make_bucket(self) -> None:
        if not self._client.bucket_exists(bucket_name=BUCKET):
            self._client.make_bucket(bucket_name=BUCKET)

    def _make_service_account(self) -> None:
        admin = MinioAdmin(
            endpoint=self._address,
            credentials=StaticProvider(
                access_key=self._keys.root_user, secret_key=self._keys.root_password
            ),
            secure=False,
        )
        admin.user_add(access_key=self._keys.service_user, secret_key=self._keys.service_secret)
        admin.policy_add(policy_name=_POLICY_NAME, policy=_POLICY)
        admin.policy_set(policy_name=_POLICY_NAME, user=self._keys.service_user)


@asynccontextmanager
async def running_gateway(folder: Path, port: int, keys: GatewayKeys) -> AsyncIterator[Gateway]:
    """A gateway over `folder`, which is made if missing, that answers; stopped at the end.

    Raises GatewayError if it does not come up.
    """
    binary = _juicefs()
    await trio.to_thread.run_sync(_format, binary, folder)
    process = _start(binary, folder, port, keys)
    try:
        gateway = Gateway(port, keys, process)
        await _until_ready(gateway, process)
        yield gateway
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(end, process, within=_STOP_DEADLINE_S))


async def _until_ready(gateway: Gateway, process: subprocess.Popen[bytes]) -> None:
    with trio.move_on_after(_START_DEADLINE_S):
        while process.poll() is None:
            try:
                await gateway.prepare()
            except StorageError:
                await trio.sleep(_POLL_S)
            else:
                return
        raise GatewayError("The S3 server ended while starting; see gateway.log in its folder.")
    raise GatewayError(f"The S3 server did not answer within {_START_DEADLINE_S} seconds.")


def _juicefs() -> Path:
    beside_python = Path(sysconfig.get_path("scripts"), "juicefs")
    found = str(beside_python) if beside_python.exists() else shutil.which("juicefs")
    if found is None:
        raise GatewayError("juicefs is missing; install provenafs with its extra `sandbox`.")
    return Path(found)


def _format(binary: Path, folder: Path) -> None:
    if (folder / "formatted").exists():
        return
    private.folder(folder)
    outcome = subprocess.run(
        [
            *(binary, "--no-agent", "format", "--storage", "file"),
            *("--bucket", f"{folder}/blocks/", "--trash-days", "0"),
            *(_metadata_url(folder), _VOLUME),
        ],
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_START_DEADLINE_S,
        check=False,
    )
    if outcome.returncode != 0:
        raise GatewayError(f"The S3 server's folder {folder} could not be set up.")
    (folder / "formatted").touch()


def _start(binary: Path, folder: Path, port: int, keys: GatewayKeys) -> subprocess.Popen[bytes]:
    """Started from the main thread: the kernel sends the death signal when that thread ends."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(private.open_file(folder / "gateway.log", flags), "wb") as log:
        return subprocess.Popen(
            [
                *(binary, "--no-agent", "gateway", _metadata_url(folder), f"127.0.0.1:{port}"),
                *("--multi-buckets", "--keep-etag", "--object-meta", "--object-tag", "--no-banner"),
                *("--no-usage-report", "--metrics", "127.0.0.1:0", "--backup-meta", "0"),
                *("--cache-dir", f"{folder}/cache", "--cache-size", "0"),
            ],
            env=_environment(folder)
            | {"MINIO_ROOT_USER": keys.root_user, "MINIO_ROOT_PASSWORD": keys.root_password},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),
        )


def _die_with(parent: int) -> Callable[[], None]:
    """Runs in a child before exec so that it never outlives its parent."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


def _metadata_url(folder: Path) -> str:
    return f"badger://{folder.resolve()}/metadata"


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's: proxies and certificates there are not meant for this server."""
    return {"PATH": os.defpath, "HOME": str(folder)}
