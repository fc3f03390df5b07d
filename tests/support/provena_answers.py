"""Settings, tokens and records for tests."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from provenafs.config import Settings
from tests.support.loopback import Answer, Loopback

HANDLE = "10378.1/1000010"
FETCH = "/data/registry/items/fetch-dataset"
LIST = "/data/registry/items/list"
REGISTRY_LIST = "/registry/registry/entity/dataset/list"
READ = "/data/registry/credentials/generate-read-access-credentials"
WRITE = "/data/registry/credentials/generate-write-access-credentials"
MINT = "/data/register/mint-dataset"
TOKEN = "/realm/protocol/openid-connect/token"
DEVICE = "/realm/protocol/openid-connect/auth/device"
SUCCESS = {"success": True, "details": "fine"}


def settings_for(server: Loopback, state_dir: Path, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "datastore_url": f"{server.url}/data",
            "registry_url": f"{server.url}/registry",
            "search_url": f"{server.url}/search",
            "auth_url": f"{server.url}/realm",
            "state_dir": state_dir,
            "api_timeout": 5,
            **more,
        }
    )


def token(username: str = "alice", **claims: Any) -> str:
    """Something that reads as a JSON web token; nobody here checks signatures."""
    payload = json.dumps({"preferred_username": username, **claims}).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


def item(number: int = 1000010, **more: Any) -> dict[str, Any]:
    handle = f"10378.1/{number}"
    path = f"datasets/{handle.replace('.', '-').replace('/', '-')}/"
    return {
        "id": handle,
        "display_name": f"Dataset {number}",
        "owner_username": "alice",
        "created_timestamp": 1717000000,
        "updated_timestamp": 1717000001,
        "s3": {"bucket_name": "b", "path": path, "s3_uri": f"s3://b/{path}"},
        "collection_format": {"dataset_info": {"name": "x", "license": "https://example.org"}},
        "history": [],
        "release_status": "NOT_RELEASED",
        **more,
    }


def fetched(**more: Any) -> Answer:
    return Answer(
        body={"status": SUCCESS, "item": item(), "roles": ["admin"], "locked": False, **more}
    )


def page(items: list[Any], key: Any = None) -> Answer:
    return Answer(body={"status": SUCCESS, "items": items, "pagination_key": key})


def keys(number: int, expiry: str) -> Answer:
    return Answer(
        body={
            "status": SUCCESS,
            "credentials": {
                "aws_access_key_id": f"ASIA{number}",
                "aws_secret_access_key": "secret",
                "aws_session_token": "session",
                "expiry": expiry,
            },
            "console_session_url": None,
        }
    )


def refused_token(header: str = "WWW-Authenticate") -> Answer:
    return Answer(401, {"detail": "Could not validate credentials"}, {header: "Bearer"})
