"""A dataset's record as the metadata that data catalogues use."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from urllib.parse import quote

from provenafs.provena.reading import object_or_empty
from provenafs.provena.records import DatasetRecord

_RESOLVER = "https://hdl.handle.net/"
_HANDLE = re.compile(r"[0-9][0-9.]*/[0-9A-Za-z._-]+")
_WEB = re.compile(r"https?://[^\s/]\S*")
_RESERVED = ":/?#[]@!$&'()*+,;=%"
_CREATIVE_COMMONS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/licenses/"
    r"(by(?:-nc)?(?:-sa|-nd)?)/(2\.0|2\.5|3\.0|4\.0)/?(?:legalcode(?:\.en)?|deed\.en)?"
)
_PUBLIC_DOMAIN = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/publicdomain/zero/1\.0/?(?:legalcode(?:\.en)?)?"
)


class Description:
    """A record as a description: every text is clean and not empty, or None.

    Nothing is demanded of the record: the service takes odd texts, and leaves out fields.
    """

    def __init__(self, record: DatasetRecord) -> None:
        self._record = record
        self._info = object_or_empty(record.collection_format.get("dataset_info"))
        self._associations = object_or_empty(record.collection_format.get("associations"))

    @property
    def handle(self) -> str:
        """The dataset's handle."""
        return self._record.id

    @property
    def url(self) -> str:
        """The address that leads to the dataset for good."""
        return _RESOLVER + quote(self._record.id, errors="replace")

    @property
    def title(self) -> str:
        """The name; the handle where there is none."""
        return self.text("name") or _text(self._record.display_name) or self._record.id

    @property
    def description(self) -> str | None:
        """The description."""
        return self.text("description")

    @property
    def created(self) -> str:
        """The day on which the record was made, such as 2023-12-01."""
        return _day(self._record.created_timestamp) or "1970-01-01"

    @property
    def published(self) -> str | None:
        """The day of publication, or else of release, such as 2023-12-01."""
        published = object_or_empty(self._info.get("published_date"))
        day = _date(published.get("value")) if published.get("relevant") else None
        if day is None and self._record.release_status == "RELEASED":
            day = _day(self._record.release_timestamp)
        return day

    @property
    def license_url(self) -> str | None:
        """The address of the licence."""
        return web_address(self._info.get("license"))

    @property
    def spdx(self) -> str | None:
        """The SPDX identifier of a licence of Creative Commons."""
        url = self.license_url or ""
        if _PUBLIC_DOMAIN.fullmatch(url):
            return "CC0-1.0"
        match = _CREATIVE_COMMONS.fullmatch(url)
        return None if match is None else f"CC-{match[1].upper()}-{match[2]}"

    @property
    def keywords(self) -> list[str]:
        """Each once, in the order given."""
        return _texts(self._info.get("keywords"))

    @property
    def formats(self) -> list[str]:
        """Of the files, in the words of the record."""
        return _texts(self._info.get("formats"))

    @property
    def organisation(self) -> str | None:
        """The handle of the organisation that the dataset comes from."""
        return _text(self._associations.get("organisation_id"))

    @property
    def publisher(self) -> str | None:
        """The handle of the organisation that publishes it."""
        return self.text("publisher_id")

    @property
    def custodian(self) -> str | None:
        """The handle of the person who looks after it."""
        return _text(self._associations.get("data_custodian_id"))

    @property
    def contact(self) -> str | None:
        """Whom to ask, in the words of the record."""
        return _text(self._associations.get("point_of_contact"))

    @property
    def owner(self) -> str | None:
        """User name of the creator."""
        return _text(self._record.owner_username)

    @property
    def elsewhere(self) -> str | None:
        """The web address of the files of a dataset that is kept elsewhere."""
        return web_address(object_or_empty(self._info.get("access_info")).get("uri"))

    @property
    def period(self) -> str | None:
        """From when to when the data is, such as 2023-01-01/2023-10-31."""
        duration = object_or_empty(object_or_empty(self._info.get("temporal_info")).get("duration"))
        begin, end = _date(duration.get("begin_date")), _date(duration.get("end_date"))
        return None if begin is None or end is None else f"{begin}/{end}"

    @property
    def coverage(self) -> str | None:
        """Where the data is, as EWKT."""
        return _text(object_or_empty(self._info.get("spatial_info")).get("coverage"))

    @property
    def version(self) -> str:
        """The number in the version chain."""
        return str(self._record.version)

    def text(self, name: str) -> str | None:
        """A text of dataset_info."""
        return _text(self._info.get(name))


def address(handle: str) -> str | None:
    """The address that leads to an item of the registry; None for what is no handle."""
    return _RESOLVER + handle if _HANDLE.fullmatch(handle) else None


def web_address(value: object) -> str | None:
    """A text, if it is an address of the web; what may not stand in one is encoded."""
    text = _text(value)
    return quote(text, safe=_RESERVED) if text is not None and _WEB.fullmatch(text) else None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Half a surrogate pair is valid JSON, but no text.
    return value.encode("utf-8", "replace").decode().strip() or None


def _texts(value: object) -> list[str]:
    return list(dict.fromkeys(_each_text(value)))


def _each_text(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else []:
        text = _text(item)
        if text is not None:
            yield text


def _date(value: object) -> str | None:
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        return None


def _day(seconds: object) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return None
