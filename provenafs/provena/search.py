"""The search API."""

from __future__ import annotations

from ProvenaInterfaces.SearchAPI import QueryResult as SearchHit
from ProvenaInterfaces.SearchAPI import QueryResults

from provenafs.provena.service import Service

__all__ = ["MOST_HITS", "Search", "SearchHit"]

MOST_HITS = 50


class Search(Service):
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
        return self.parsed(QueryResults, self.succeeded(document)).results or []
