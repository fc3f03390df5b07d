"""AWS Signature Version 4 in the Authorization header.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. The body is not
part of it: its checksum is a header of its own, and hashing it would cost as much as sending it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from provenafs.s3.types import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "UNSIGNED-PAYLOAD"


def signed(
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    region: str,
    credentials: Credentials,
    now: datetime,
) -> dict[str, str]:
    """All headers of a request: `headers`, in lower case, and those of the signature.

    `path` and `query` are percent-encoded, the query in the order of its names; `now` is in UTC.
    """
    time = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {
        **headers,
        "host": host,
        "x-amz-content-sha256": _UNSIGNED,
        "x-amz-date": time,
        "x-amz-security-token": credentials.session_token,
    }
    names = sorted(sent)
    lines = [f"{name}:{' '.join(sent[name].split())}" for name in names]
    request = "\n".join([method, path, query, *lines, "", ";".join(names), _UNSIGNED])
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    text = "\n".join([_ALGORITHM, time, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope},"
        f" SignedHeaders={';'.join(names)}, Signature={key.hex()}"
    )
    return sent
