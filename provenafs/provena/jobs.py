"""The job API: progress of recording a creation or a version."""

from __future__ import annotations

from ProvenaInterfaces.AsyncJobAPI import GetJobResponse
from ProvenaInterfaces.AsyncJobModels import JobStatusTable

from provenafs.provena.errors import NotFound
from provenafs.provena.service import ServiceClient


class Jobs(ServiceClient):
    """The job API on behalf of one user."""

    async def fetch(self, session_id: str) -> JobStatusTable:
        """One job; raises NotFound, also for a short while after it was begun."""
        document = await self.call(
            "GET",
            "/jobs/user/fetch",
            params={"session_id": session_id},
            errors={400: NotFound},
        )
        return self.parsed(GetJobResponse, document).job
