"""The search API."""

from __future__ import annotations

import math

from ProvenaInterfaces.SearchAPI import QueryResult as SearchHit

from provenafs.provena.handles import has_name
from provenafs.provena.service import ServiceClient

__all__ = ["MOST_HITS", "Search", "SearchHit"]

MOST_HITS = 50


class Search(ServiceClient):
    """The search API on behalf of one user."""

    async def datasets(self, query: str, limit: int = MOST_HITS) -> list[SearchHit]:
        """Handles and scores of matching datasets, best first, 50 at most.

        The service does not look at access: some may be hidden from this user, or gone.
        """
        document = await self.call(
            "GET",
            "/search/entity-registry",
            params={
                "query": query,
                "subtype_filter": "DATASET",
                "record_limit": min(limit, MOST_HITS),
            },
        )
        hits = self.rows(SearchHit, self.succeeded(document).get("results"))
        usable = [hit for hit in hits if has_name(hit.id) and math.isfinite(hit.score)]
        return usable[:MOST_HITS]
