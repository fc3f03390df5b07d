"""The dataset's objects, seen and changed without a mount: the bare client."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from minio import Minio
from minio.commonconfig import SnowballObject

from bench.servers import BenchError, Site
from provenafs.sandbox.gateway import BUCKET, REGION

_SMALL_BYTES = 1024 * 1024
_PACK_BYTES = 32 * 1024 * 1024
_PACK_FILES = 1000
_CHUNK_BYTES = 1024 * 1024
_CONNECTIONS = 32


class Objects:
    """What is stored below the dataset's prefix."""

    def __init__(self, site: Site, endpoint: str) -> None:
        self.site = site
        self.endpoint = endpoint
        self.s3 = _client(site, endpoint)

    def key(self, name: str) -> str:
        """The whole key of a path in the dataset."""
        return self.site.prefix + name

    def upload(self, folder: Path, name: str) -> None:
        """Store a local folder's files below `name/`."""
        small: list[tuple[str, Path]] = []
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                continue
            key = self.key(f"{name}/{path.relative_to(folder)}")
            if path.stat().st_size > _SMALL_BYTES:
                self.s3.upload_file(str(path), BUCKET, key)
            else:
                small.append((key, path))
        if small:
            self._upload_packed(small)

    def remove(self, name: str) -> None:
        """Remove all objects below `name/`."""
        for path in sorted(self._below(name), reverse=True):
            self.s3.delete_object(Bucket=BUCKET, Key=self.key(f"{name}/{path}"))

    def stored(self, name: str) -> dict[str, int]:
        """The files below `name/`, by path, and their sizes in bytes."""
        return {
            path: item["Size"]
            for path, item in self._below(name).items()
            if path[-1:] not in ("", "/")
        }

    def modified(self, name: str) -> dict[str, int]:
        """When the files below `name/` were stored, by path, in whole seconds since the epoch."""
        return {
            path: int(item["LastModified"].timestamp()) for path, item in self._below(name).items()
        }

    def get(self, name: str, start: int, length: int) -> bytes:
        """Those bytes of one object."""
        ranged = f"bytes={start}-{start + length - 1}"
        answer = self.s3.get_object(Bucket=BUCKET, Key=self.key(name), Range=ranged)
        return bytes(answer["Body"].read())

    def check(self, name: str, path: Path, tail: bytes = b"") -> None:
        """BenchError unless the object has exactly the bytes of a local file, and then `tail`."""
        body = self.s3.get_object(Bucket=BUCKET, Key=self.key(name))["Body"]
        with path.open("rb") as file:
            while expected := file.read(_CHUNK_BYTES):
                if body.read(len(expected)) != expected:
                    raise BenchError(f"{name} was stored with wrong bytes")
        if body.read() != tail:
            raise BenchError(f"{name} was stored with a wrong end")

    def _below(self, name: str) -> dict[str, Any]:
        prefix = self.key(f"{name}/")
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {
            item["Key"].removeprefix(prefix): item
            for page in pages
            for item in page.get("Contents", ())
        }

    def _upload_packed(self, files: Sequence[tuple[str, Path]]) -> None:
        """In packs that the server takes apart, which it does only for its own account."""
        keys = self.site.state.keys()
        client = Minio(
            endpoint=self.endpoint.removeprefix("http://"),
            access_key=keys["service_user"],
            secret_key=keys["service_secret"],
            secure=False,
            region=REGION,
        )
        largest = max(path.stat().st_size for _, path in files)
        step = max(1, min(_PACK_FILES, _PACK_BYTES // largest))
        for start in range(0, len(files), step):
            pack = [
                SnowballObject(
                    object_name=key, data=io.BytesIO(data := path.read_bytes()), length=len(data)
                )
                for key, path in files[start : start + step]
            ]
            client.upload_snowball_objects(bucket_name=BUCKET, object_list=pack)


def _client(site: Site, endpoint: str) -> Any:
    keys = site.keys("write")
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys.key_id,
        aws_secret_access_key=keys.secret,
        aws_session_token=keys.token,
        config=Config(max_pool_connections=_CONNECTIONS, s3={"addressing_style": "path"}),
    )
