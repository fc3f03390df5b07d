"""A dataset as an RO-Crate 1.2, made from the record alone."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from provenafs.catalog.dataset import Dataset
from provenafs.catalog.description import Description, address

_CRATE = "https://w3id.org/ro/crate/1.2"
_CONTACT = "#contact"

_Entity = dict[str, Any]


def ro_crate_metadata(dataset: Dataset) -> bytes:
    """The file `ro-crate-metadata.json` of a dataset. Same record, same bytes.

    It describes the dataset where its handle leads to (a detached crate) and names no files, which
    only a listing of the bucket has them.
    """
    described = Description(dataset.record)
    entities = [_descriptor(described), _root(described), *_others(described).values()]
    if described.contact is not None:
        entities.append(_contact(described.contact))
    graph: dict[str, _Entity] = {}
    for entity in entities:
        # A record may name one thing in two roles.
        graph.setdefault(entity["@id"], entity)
    document = {"@context": f"{_CRATE}/context", "@graph": list(graph.values())}
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _descriptor(described: Description) -> _Entity:
    return {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": described.url},
    }


def _root(described: Description) -> _Entity:
    words = {
        "name": described.title,
        "description": described.description or described.title,
        "datePublished": described.published or described.created,
        "dateCreated": described.created,
        "version": described.version,
        "keywords": ", ".join(described.keywords),
        "encodingFormat": described.formats,
        "temporalCoverage": described.period,
        "creditText": described.text("preferred_citation"),
        "copyrightNotice": described.text("rights_holder"),
        "conditionsOfAccess": described.text("usage_limitations"),
        "url": described.elsewhere,
    }
    links = {name: _link(entity) for name, entity in _others(described).items()}
    said = {name: value for name, value in words.items() if value}
    return {"@id": described.url, "@type": "Dataset", **said, **links}


def _others(described: Description) -> dict[str, _Entity]:
    """The entities that the root names, by the property that names them."""
    handle = {
        "@id": "#handle",
        "@type": "PropertyValue",
        "propertyID": "https://registry.identifiers.org/registry/hdl",
        "value": described.handle,
        "url": described.url,
    }
    others = {
        "identifier": handle,
        "license": _license(described),
        "author": _organisation(described),
        "publisher": _agent(described.publisher, "Organization"),
        "maintainer": _agent(described.custodian, "Person"),
        "creator": _owner(described.owner),
        "contentLocation": _place(described.coverage),
    }
    return {name: entity for name, entity in others.items() if entity is not None}


def _license(described: Description) -> _Entity:
    url = described.license_url
    if url is None:
        words = "The record states no licence."
        return {"@id": "#license", "@type": "CreativeWork", "name": words, "description": words}
    return {
        "@id": url,
        "@type": "CreativeWork",
        "name": described.spdx or url,
        "description": f"The licence at {url}",
        "url": url,
    }


def _organisation(described: Description) -> _Entity | None:
    organisation = _agent(described.organisation, "Organization")
    if organisation is None or described.contact is None:
        return organisation
    return organisation | {"contactPoint": {"@id": _CONTACT}}


def _agent(handle: str | None, kind: str) -> _Entity | None:
    """An item of the registry, which the record names by its handle alone."""
    if handle is None:
        return None
    return {"@id": address(handle) or _local(handle), "@type": kind, "name": handle}


def _owner(username: str | None) -> _Entity | None:
    if username is None:
        return None
    return {"@id": _local(f"owner-{username}"), "@type": "Person", "name": username}


def _contact(words: str) -> _Entity:
    return {
        "@id": _CONTACT,
        "@type": "ContactPoint",
        "name": words,
        "contactType": "point of contact",
    }


def _place(ewkt: str | None) -> _Entity | None:
    return None if ewkt is None else {"@id": "#coverage", "@type": "Place", "name": ewkt}


def _local(name: str) -> str:
    return "#" + quote(name, safe="")


def _link(entity: _Entity) -> dict[str, str]:
    return {"@id": entity["@id"]}
