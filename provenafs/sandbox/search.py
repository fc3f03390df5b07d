"""The search API: words of an item, or beginnings of them, ranked by how rare they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, HTTPException
from ProvenaInterfaces.RegistryModels import ItemSubType
from pydantic.v1 import BaseModel

from provenafs.sandbox.endpoint import Call, Nothing, checked
from provenafs.sandbox.kinds import READ
from provenafs.sandbox.messages import succeeded
from provenafs.sandbox.store import Document

router = APIRouter()

_DEFAULT_RESULTS, _MOST_RESULTS = 10, 50
_LONGEST_PREFIX = 20
_WHOLE_WORD, _PREFIX = 2.0, 1.0
_WORD = re.compile(r"\w+(?:[.']\w+)*")
_OWN_FIELDS = ("id", "item_category", "item_subtype", "owner_username", "display_name", "email")
_INFO_FIELDS = (
    "description",
    "name",
    "publisher_id",
    "keywords",
    "formats",
    "preferred_citation",
    "usage_limitations",
    "rights_holder",
    "purpose",
)


class _SearchQuery(BaseModel):
    query: str
    subtype_filter: ItemSubType | None = None
    record_limit: int | None = None


@router.get("/search/entity-registry")
@checked(READ, query=_SearchQuery)
async def search_registry(call: Call[_SearchQuery, Nothing]) -> Any:
    """The best matches of every item there is, whether or not the caller may see them."""
    query = call.query
    limit = min(query.record_limit or _DEFAULT_RESULTS, _MOST_RESULTS)
    if limit < 0:
        raise HTTPException(500, "The search failed: [size] parameter cannot be negative.")
    subtype = query.subtype_filter
    items = (
        item
        for item in call.services.store.items()
        if subtype is None or item["item_subtype"] == subtype.value
    )
    results = [{"id": item_id, "score": score} for item_id, score in ranked(query.query, items)]
    status = succeeded("Successfully searched the registry.").dict()
    return {"status": status, "results": results[:limit], "warnings": None}


def ranked(query: str, items: Iterable[Document]) -> list[tuple[str, float]]:
    """Ids and scores of the items that hold a word of the query or one begun by it, best first."""
    asked = list(dict.fromkeys(_words(query)))
    weights = {
        item["id"]: [_weight(word, set(_words(_text(item)))) for word in asked] for item in items
    }
    rarity = [
        math.log1p(len(weights) / max(1, sum(row[column] > 0 for row in weights.values())))
        for column in range(len(asked))
    ]
    scores = {
        item_id: sum(weight * rare for weight, rare in zip(row, rarity, strict=True))
        for item_id, row in weights.items()
    }
    found = [(item_id, round(score, 6)) for item_id, score in scores.items() if score > 0]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _weight(word: str, words: set[str]) -> float:
    if word in words:
        return _WHOLE_WORD
    short = len(word) <= _LONGEST_PREFIX
    return _PREFIX if short and any(other.startswith(word) for other in words) else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _text(item: Document) -> str:
    """Everything of an item that is searched, as one text."""
    collection = item.get("collection_format", {})
    info, associations = collection.get("dataset_info", {}), collection.get("associations", {})
    parts = [item.get(field) for field in _OWN_FIELDS]
    parts += [info.get(field) for field in _INFO_FIELDS]
    parts += [associations.get("organisation_id"), associations.get("data_custodian_id")]
    parts += [f"{name} {value}" for name, value in (item.get("user_metadata") or {}).items()]
    return " ".join(" ".join(part) if isinstance(part, list) else str(part or "") for part in parts)
