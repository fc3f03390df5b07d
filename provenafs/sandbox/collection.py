"""CollectionFormat as the service parses it.

These are models of pydantic's first generation because the real service's are: coercions, messages
and the shape of its 422 answers then come out the same without imitation.
"""

from __future__ import annotations

import re
from copy import deepcopy
from datetime import date
from typing import Any

from isodate import parse_duration  # type: ignore[import-untyped]
from pydantic.v1 import AnyHttpUrl, BaseModel, Extra, Field, root_validator, validator

_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(%[0-9A-Fa-f]{2}|[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=])+"
)
_MAX_GEOMETRY_CHARACTERS = 50_000


class Uri(str):
    """Any URI by RFC 3986, of any scheme."""

    @classmethod
    def __get_validators__(cls) -> Any:
        yield cls._checked

    @classmethod
    def __modify_schema__(cls, schema: dict[str, Any]) -> None:
        schema.update(type="string", format="uri", minLength=1)

    @classmethod
    def _checked(cls, value: Any) -> Uri:
        if not isinstance(value, str) or not _URI.fullmatch(value):
            raise ValueError("invalid or missing URL scheme")
        return cls(value)


class Strict(BaseModel):
    """A model that takes neither unknown keys nor empty strings."""

    class Config:
        extra = Extra.forbid
        min_anystr_length = 1


class Known(BaseModel):
    """A model that takes no unknown keys."""

    class Config:
        extra = Extra.forbid


class Associations(Strict):
    """The people and organisations of the record."""

    organisation_id: str
    data_custodian_id: str | None = None
    point_of_contact: str | None = None


class Approval(Known):
    """One of the four declarations."""

    relevant: bool = False
    obtained: bool = False


class Approvals(Strict):
    """The four declarations."""

    ethics_registration: Approval
    ethics_access: Approval
    indigenous_knowledge: Approval
    export_controls: Approval


class AccessInfo(Strict):
    """Whether the data is here or elsewhere."""

    reposited: bool = True
    uri: Uri | None = None
    description: str | None = None

    @root_validator(skip_on_failure=True)
    def _consistent(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        for field, noun in (("uri", "URI"), ("description", "description")):
            given = values.get(field) is not None
            if values["reposited"] and given:
                raise ValueError(
                    f"Cannot provide a {noun} for external access if data is reposited"
                    " in the Data Store."
                )
            if not values["reposited"] and not given:
                raise ValueError(
                    f"Must provide a {noun} for external access if data is not reposited"
                    " in the Data Store."
                )
        return values


class OptionalDate(Known):
    """A date that is given exactly if it is relevant."""

    relevant: bool = False
    value: date | None = None

    @root_validator(skip_on_failure=True)
    def _consistent(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        if values["relevant"] and values["value"] is None:
            raise ValueError("Must provide a date if the relevant field is set to True.")
        if not values["relevant"] and values["value"] is not None:
            raise ValueError("Cannot provide a date if the relevant field is set to False.")
        return values


class SpatialInfo(Strict):
    """Where the data is about; the geometry's syntax is the registry's to check."""

    coverage: str | None = Field(None, max_length=_MAX_GEOMETRY_CHARACTERS)
    resolution: str | None = None
    extent: str | None = Field(None, max_length=_MAX_GEOMETRY_CHARACTERS)

    @validator("resolution")
    def _positive(cls, value: str | None) -> str | None:  # noqa: N805
        try:
            if value is not None and not float(value) > 0:
                raise ValueError("it is not greater than 0")
        except ValueError as error:
            raise ValueError(
                "Invalid spatial resolution. The value must conform to the Decimal Degrees format."
                f" Details: {error}"
            ) from error
        return value


class Duration(Strict):
    """A period of whole days, both ends included."""

    begin_date: date
    end_date: date

    @root_validator(skip_on_failure=True)
    def _ordered(cls, values: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
        if values["begin_date"] > values["end_date"]:
            raise ValueError("Begin Date must be before or equal to End Date.")
        return values


class TemporalInfo(Strict):
    """When the data is about."""

    duration: Duration | None = None
    resolution: str | None = None

    @validator("resolution")
    def _iso_duration(cls, value: str | None) -> str | None:  # noqa: N805
        try:
            if value is not None:
                parse_duration(value)
        except Exception as error:  # whatever it raises, as in the service
            raise ValueError(
                "Invalid temporal resolution. The value must conform to the ISO8601 Time Duration"
                f" format (e.g.'P1Y2M10DT2H30M'). Details: {error}"
            ) from error
        return value


class DatasetInfo(Strict):
    """The dataset's own metadata."""

    name: str
    description: str
    access_info: AccessInfo
    publisher_id: str
    created_date: OptionalDate
    published_date: OptionalDate
    license: AnyHttpUrl
    purpose: str | None = None
    rights_holder: str | None = None
    usage_limitations: str | None = None
    preferred_citation: str | None = None
    spatial_info: SpatialInfo | None = None
    temporal_info: TemporalInfo | None = None
    formats: list[str] | None = None
    keywords: list[str] | None = None
    user_metadata: dict[str, str] | None = None
    version: str | None = None


class CollectionFormat(Strict):
    """The metadata a user writes about a dataset."""

    associations: Associations
    approvals: Approvals
    dataset_info: DatasetInfo


def collection_schema() -> dict[str, Any]:
    """The JSON schema the service shows, which hides `dataset_info.version`."""
    schema = deepcopy(CollectionFormat.schema())  # the model keeps its own
    del schema["definitions"]["DatasetInfo"]["properties"]["version"]
    return schema


def field_fault(collection: CollectionFormat) -> str | None:
    """The first violation of the rules beyond the model, in the service's form, or None."""
    info = collection.dataset_info
    created, published = info.created_date.value, info.published_date.value
    if created and published and published < created:
        return _fault("The published date cannot be before the created date.")
    for name in Approvals.__fields__:
        approval: Approval = getattr(collection.approvals, name)
        if approval.relevant and not approval.obtained:
            return _fault(f"{name} is marked as relevant but has not been obtained.")
        if approval.obtained and not approval.relevant:
            return _fault(f"{name} is marked as obtained but is not relevant.")
    return None


def _fault(text: str) -> str:
    return f"Failed field value validation. Error: {text}"
