"""A parser for one response shape, ListObjectsV2, ten times faster than botocore's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from botocore.parsers import ResponseParser, ResponseParserFactory, RestXMLParser

from provenafs.s3.errors import Unavailable
from provenafs.s3.types import ListPage, ObjectInfo, nanoseconds

PAGE = "Page"


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
        except (ElementTree.ParseError, ValueError, KeyError) as error:
            # Without the page itself, which may be a megabyte.
            raise Unavailable(f"a page of a listing cannot be parsed: {error}") from None


def parse_page(body: bytes) -> ListPage:
    """The page a ListObjectsV2 with encoding-type url answered; ValueError if it is none."""
    root = ElementTree.fromstring(body)
    namespace, _, tag = root.tag.rpartition("}")
    if tag != "ListBucketResult":
        raise ValueError(f"<{tag}> is no listing")
    ns = f"{namespace}}}" if namespace else ""
    is_encoded = root.findtext(f"{ns}EncodingType") == "url"
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    times: dict[str, int] = {}
    for element in root:
        if element.tag == f"{ns}Contents":
            objects.append(_object(element, len(ns), is_encoded, times))
        elif element.tag == f"{ns}CommonPrefixes":
            prefix = element.findtext(f"{ns}Prefix") or ""
            prefixes.append(unquote_plus(prefix) if is_encoded else prefix)
    token = root.findtext(f"{ns}NextContinuationToken")
    if root.findtext(f"{ns}IsTruncated") == "true" and not token:
        raise ValueError("a page that says it is not the last but not how to go on")
    return ListPage(tuple(objects), tuple(prefixes), token or None)


def _object(
    element: ElementTree.Element, strip: int, is_encoded: bool, times: dict[str, int]
) -> ObjectInfo:
    fields = {child.tag[strip:]: child.text for child in element}
    key, size, text = fields["Key"] or "", fields["Size"], fields["LastModified"]
    if size is None or text is None:
        raise ValueError("an object without size or time")
    modified = times.get(text)
    if modified is None:
        modified = times[text] = nanoseconds(datetime.fromisoformat(text))
    if is_encoded and ("%" in key or "+" in key):
        key = unquote_plus(key)
    storage_class = fields.get("StorageClass")
    if storage_class == "STANDARD":
        storage_class = None
    return ObjectInfo(key, int(size), fields.get("ETag") or "", modified, storage_class)
