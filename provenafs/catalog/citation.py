"""How to cite a dataset: the Citation File Format 1.2.0, made from the record alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from provenafs.catalog.dataset import Dataset
from provenafs.catalog.description import Description, address

# RFC 5321: no more characters stand before and after the @.
_EMAIL = re.compile(r"(?<![^\s<>@])[^\s<>@]{1,64}+@[^\s<>@.]{1,63}(?:\.[^\s<>@.]{1,63}){1,8}")

_Scalar = str | None
_Value = _Scalar | Sequence[str] | Sequence[Mapping[str, _Scalar]]


def citation_cff(dataset: Dataset) -> bytes:
    """The file `citation.cff` of a dataset. Same record, same bytes."""
    described = Description(dataset.record)
    cite_as = described.text("preferred_citation")
    message = "If you use this dataset, please cite it using these metadata."
    if cite_as is not None:
        message = f"If you use this dataset, please cite it as: {cite_as}"
    identifier = {"type": "url", "value": described.url, "description": "The dataset's handle."}
    document: dict[str, _Value] = {
        "cff-version": "1.2.0",
        "message": message,
        "type": "dataset",
        "title": described.title,
        "abstract": described.description,
        "authors": _authors(described),
        "contact": _contact(described),
        "version": described.version,
        "date-released": described.published,
        "identifiers": [identifier],
        "url": described.elsewhere or described.url,
        "license": described.spdx,
        "license-url": None if described.spdx else described.license_url,
        "keywords": described.keywords,
    }
    return "".join(_entry(key, value) for key, value in document.items() if value).encode()


def _authors(described: Description) -> list[dict[str, _Scalar]]:
    """The authors: the rights holder in words, the organisation, else the owner."""
    holder = described.text("rights_holder")
    if holder is not None:
        return [{"name": holder}]
    handle = described.organisation or described.publisher
    if handle is not None:
        return [{"name": handle, "website": address(handle)}]
    return [{"alias": described.owner or described.title}]


def _contact(described: Description) -> list[dict[str, _Scalar]]:
    asked = described.contact
    handle = described.custodian
    if asked is None and handle is None:
        return []
    email = _EMAIL.search(asked or "")
    return [
        {
            "alias": asked or handle,
            "email": None if email is None else email[0],
            "website": None if handle is None else address(handle),
        }
    ]


def _entry(key: str, value: _Value) -> str:
    if isinstance(value, str) or value is None:
        return f"{key}: {_scalar(value)}\n"
    return f"{key}:\n" + "".join(_item(item) for item in value)


def _item(item: str | Mapping[str, _Scalar]) -> str:
    if isinstance(item, str):
        return f"  - {_scalar(item)}\n"
    lines = [f"{name}: {_scalar(value)}\n" for name, value in item.items() if value]
    return "  - " + "    ".join(lines)


def _scalar(value: _Scalar) -> str:
    """A string of YAML: one of JSON, less what YAML would fold or not take."""
    quoted = json.dumps(value, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in quoted)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
