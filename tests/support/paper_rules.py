"""The rules that citations (CFF 1.2.0) and crates (RO-Crate 1.2) have to keep."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import yaml

_CFF_TEXTS = {"message", "title", "abstract", "version"}
_CFF_URLS = {"url", "license-url"}
_CFF_KEYS = {
    *_CFF_TEXTS, *_CFF_URLS, "cff-version", "type", "authors", "contact", "date-released",
    "identifiers", "license", "keywords",
}  # fmt: skip
_URI = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def check_cff(content: bytes, url: str) -> dict[str, Any]:
    """Parse the citation of the dataset at `url` and hold it against the schema."""
    text = content.decode()
    assert text.endswith("\n")
    document: dict[str, Any] = yaml.load(text, yaml.BaseLoader)
    assert yaml.safe_load(text).keys() == document.keys()
    assert {"cff-version", "message", "title", "authors"} <= document.keys() <= _CFF_KEYS
    assert document["cff-version"] == "1.2.0"
    assert document["type"] == "dataset"
    for key in _CFF_TEXTS & document.keys():
        assert isinstance(yaml.safe_load(text)[key], str)
        assert document[key]
    for key in _CFF_URLS & document.keys():
        assert _URI.fullmatch(document[key])
    if "date-released" in document:
        datetime.date.fromisoformat(document["date-released"])
        assert isinstance(yaml.safe_load(text)["date-released"], str)
    assert document.get("license", "CC0-1.0").startswith("CC")
    assert len(document["authors"]) == 1
    for agent in (*document["authors"], *document.get("contact", [])):
        _check_agent(agent)
    (identifier,) = document["identifiers"]
    assert identifier == {"type": "url", "value": url, "description": "The dataset's handle."}
    keywords = document.get("keywords", ["one"])
    assert keywords
    assert all(isinstance(word, str) and word for word in keywords)
    assert len(set(keywords)) == len(keywords)
    return document


def _check_agent(agent: dict[str, str]) -> None:
    person, entity = {"alias", "email", "website"}, {"name", "website"}
    assert agent.keys() <= person or ("name" in agent and agent.keys() <= entity)
    assert all(isinstance(value, str) and value for value in agent.values())
    assert "website" not in agent or _URI.fullmatch(agent["website"])
    assert "email" not in agent or re.fullmatch(r"\S+@\S+\.\S{2,}", agent["email"])


def check_crate(content: bytes, url: str) -> dict[str, dict[str, Any]]:
    """Parse the crate of the dataset at `url`, hold it against RO-Crate 1.2; entities by id."""
    document = json.loads(content.decode())
    assert document.keys() == {"@context", "@graph"}
    assert document["@context"] == "https://w3id.org/ro/crate/1.2/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    descriptor = entities["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    root = entities[descriptor["about"]["@id"]]
    assert root["@id"] == url
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert root["description"]
    datetime.date.fromisoformat(root["datePublished"])
    license_entity = entities[root["license"]["@id"]]
    assert license_entity["name"]
    assert license_entity["description"]
    for entity in entities.values():
        assert entity["@type"]
        assert re.fullmatch(r"[!-~]+", entity["@id"])
        for name, value in entity.items():
            assert value, name
            # Flat: another entity is only ever linked to.
            if isinstance(value, dict):
                assert value.keys() == {"@id"}
                assert value["@id"] in entities or name == "conformsTo"
    return entities
