"""The fast parser says what boto3's own parser says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import botocore.session
import pytest
from botocore.parsers import RestXMLParser
from hypothesis import given
from hypothesis import strategies as st

from provenafs.s3.listing import parse_page
from provenafs.s3.types import ListPage, ObjectInfo, nanoseconds

_SHAPE: Any = (
    botocore.session.Session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
)
_keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
_times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))
_objects = st.tuples(
    _keys, st.integers(0, 2**43), st.text("0123456789abcdef-", min_size=1, max_size=40), _times
)


def _page(objects: list[Any], prefixes: list[str], token: str, encoding: str) -> bytes:
    name = (lambda key: escape(quote_plus(key, safe="/"))) if encoding else escape
    contents = "".join(
        f"<Contents><Key>{name(key)}</Key>"
        f"<LastModified>{modified.isoformat(timespec='milliseconds')}Z</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key, size, etag, modified in objects
    )
    common = "".join(
        f"<CommonPrefixes><Prefix>{name(p)}</Prefix></CommonPrefixes>" for p in prefixes
    )
    more = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix></Prefix><IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        f"{more}{encoding}{contents}{common}</ListBucketResult>"
    ).encode()


def _by_boto(body: bytes) -> ListPage:
    from botocore.handlers import decode_list_object_v2

    response = {"body": body, "headers": {}, "status_code": 200}
    parsed: Any = RestXMLParser().parse(response, _SHAPE)
    decode_list_object_v2(parsed, {"encoding_type_auto_set": True})
    return ListPage(
        tuple(
            ObjectInfo(item["Key"], item["Size"], item["ETag"], nanoseconds(item["LastModified"]))
            for item in parsed.get("Contents", ())
        ),
        tuple(item["Prefix"] for item in parsed.get("CommonPrefixes", ())),
        parsed.get("NextContinuationToken"),
    )


@given(st.lists(_objects, max_size=5), st.lists(_keys, max_size=3), st.sampled_from(["", "a+b&/="]))
def test_encoded_page_equals_botocore(objects: list[Any], prefixes: list[str], token: str) -> None:
    body = _page(objects, prefixes, token, "<EncodingType>url</EncodingType>")
    assert parse_page(body) == _by_boto(body)


def test_plain_page_equals_botocore() -> None:
    modified = datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=None)
    objects = [("a+b %41 <&> ä", 7, "e-2", modified), ("z", 0, "e", modified)]
    body = _page(objects, ["d+d/"], "", "")
    page = parse_page(body)
    assert page == _by_boto(body)
    assert page.objects[0].key == "a+b %41 <&> ä"
    assert page.objects[0].modified_ns == nanoseconds(modified.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"<Error><Code>InternalError</Code></Error>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>x</Size>"
        b"<LastModified>2024-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>",
    ],
)
def test_what_is_no_page_is_an_error(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, SyntaxError)):
        parse_page(body)
