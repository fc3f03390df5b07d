"""A parser for one response shape, ListObjectsV2, ten times faster than botocore's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from botocore.parsers import ResponseParser, ResponseParserFactory, RestXMLParser

from provenafs.s3.answers import document, is_etag, size_in
from provenafs.s3.errors import BadAnswer
from provenafs.s3.types import ListPage, ObjectInfo, nanoseconds

PAGE = "Page"
_LONGEST_TOKEN = 4096


class FastListParserFactory(ResponseParserFactory):
    """Makes the parsers of a botocore session; only the one for listings is ours."""

    def __init__(self) -> None:
        super().__init__()
        self._arguments: dict[str, Any] = {}

    def set_parser_defaults(self, **kwargs: Any) -> None:
        super().set_parser_defaults(**kwargs)
        self._arguments.update(kwargs)

    def create_parser(self, protocol_name: str) -> ResponseParser:
        if protocol_name != "rest-xml":
            return super().create_parser(protocol_name)
        return _FastListParser(**self._arguments)


class _FastListParser(RestXMLParser):
    """Answers a ListObjectsV2 with a `ListPage` under the key `Page` and nothing else."""

    def parse(self, response: Any, shape: Any) -> Any:
        is_page = shape is not None and shape.name == "ListObjectsV2Output"
        if not is_page or response["status_code"] != 200:
            return super().parse(response, shape)
        try:
            return {PAGE: parse_page(response["body"])}
        except ValueError as error:
            # Without the page itself, which may be a megabyte.
            raise BadAnswer(f"a page of a listing cannot be parsed: {error}") from None


def parse_page(body: bytes) -> ListPage:
    """The page a ListObjectsV2 with encoding-type url answered; ValueError if it is none.

    An entry that cannot be one, such as a key without a size, is left out.
    """
    root = document(body)
    namespace, _, tag = root.tag.rpartition("}")
    if tag != "ListBucketResult":
        raise ValueError(f"<{tag[:40]}> is no listing")
    ns = f"{namespace}}}" if namespace else ""
    is_encoded = root.findtext(f"{ns}EncodingType") == "url"
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    left_out: list[str] = []
    times: dict[str, int] = {}
    for element in root:
        try:
            if element.tag == f"{ns}Contents":
                objects.append(_object(element, len(ns), is_encoded, times))
            elif element.tag == f"{ns}CommonPrefixes":
                prefixes.append(_name(element.findtext(f"{ns}Prefix"), is_encoded))
        except ValueError as error:
            left_out.append(str(error))
    token = _next_token(root, ns)
    return ListPage(tuple(objects), tuple(prefixes), token, tuple(left_out))


def _next_token(root: ElementTree.Element, ns: str) -> str | None:
    token = root.findtext(f"{ns}NextContinuationToken") or None
    is_truncated = root.findtext(f"{ns}IsTruncated")
    if is_truncated not in ("true", "false"):
        raise ValueError("a page that does not say whether it is the last")
    if is_truncated == "true" and token is None:
        raise ValueError("a page that says it is not the last but not how to go on")
    if token is not None and len(token) > _LONGEST_TOKEN:
        raise ValueError("a token that is too long to be sent")
    return token


def _object(
    element: ElementTree.Element, strip: int, is_encoded: bool, times: dict[str, int]
) -> ObjectInfo:
    fields = {child.tag[strip:]: child.text for child in element}
    if len(fields) != len(element):
        _refuse_doubles([child.tag[strip:] for child in element])
    key = _name(fields.get("Key"), is_encoded)
    text, etag = fields.get("LastModified"), fields.get("ETag")
    if not is_etag(etag):
        if etag or not key.endswith("/"):  # some servers have none for the markers of directories
            raise ValueError("an object without an ETag")
        etag = ""
    if text is None:
        raise ValueError("an object without a time")
    modified = times.get(text)
    if modified is None:
        modified = times[text] = _time(text)
    storage_class = fields.get("StorageClass")
    if storage_class == "STANDARD":
        storage_class = None
    return ObjectInfo(key, size_in(fields.get("Size")), etag or "", modified, storage_class)


def _name(text: str | None, is_encoded: bool) -> str:
    if not text:
        raise ValueError("an entry without a name")
    if is_encoded and ("%" in text or "+" in text):
        try:
            return unquote_plus(text, errors="strict")
        except UnicodeDecodeError:
            raise ValueError("a name that is not in UTF-8") from None
    return text


def _time(text: str) -> int:
    try:
        return nanoseconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise ValueError("an object with a time that is none") from None


def _refuse_doubles(names: list[str]) -> None:
    for name in ("Key", "Size", "LastModified", "ETag"):
        if names.count(name) > 1:
            raise ValueError(f"an object with more than one {name}")
