"""Signatures, compared with botocore's."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from provenafs.s3.signature import signed
from provenafs.s3.types import Credentials

_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_names = st.sampled_from(["x-amz-meta-a", "x-amz-meta-b-c", "if-match", "content-type"])
_headers = st.dictionaries(_names, st.text(_PRINTABLE, min_size=1).filter(str.strip))


@given(
    method=st.sampled_from(["PUT", "DELETE"]),
    host=st.sampled_from(["127.0.0.1:9000", "store.s3.ap-southeast-2.amazonaws.com"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    upload=st.none() | st.text(string.ascii_letters + string.digits + "._-+/=", min_size=1),
    headers=_headers,
    region=st.sampled_from(["ap-southeast-2", "us-east-1"]),
    secret=st.text(_PRINTABLE, min_size=1),
)
def test_signatures_equal_those_of_botocore(
    method: str,
    host: str,
    key: str,
    upload: str | None,
    headers: dict[str, str],
    region: str,
    secret: str,
) -> None:
    path = "/" + quote(key)
    query = "" if upload is None else f"partNumber=7&uploadId={quote(upload, safe='')}"
    request = AWSRequest(method, f"https://{host}{path}?{query}", headers=dict(headers))
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    S3SigV4Auth(BotoCredentials("id", secret, "token"), "s3", region).add_auth(request)
    now = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    credentials = Credentials("id", secret, "token", datetime.now(UTC) + timedelta(hours=1))
    ours = signed(method, host, path, query, headers, region, credentials, now)
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"]
