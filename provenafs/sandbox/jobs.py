"""The job table of mint and version. Jobs are done at once."""

from __future__ import annotations

import time
import uuid
from typing import Any

from provenafs.sandbox.store import Document, Kind, Store


class Jobs:
    """Rows of finished jobs, each chained to the job that lodged its provenance."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run_registration(self, username: str, action: str, payload: Document, activity: str) -> str:
        """Record that an activity was registered and then lodged; the first job's session id.

        `action` is CREATE or VERSION, `activity` the handle of the registered activity.
        """
        noun = {"CREATE": "creation", "VERSION": "version"}[action]
        lodged = self._add(username, "PROV_LODGE", f"LODGE_{action}_ACTIVITY", payload, {})
        return self._add(
            username,
            "REGISTRY",
            f"REGISTER_{action}_ACTIVITY",
            payload,
            {f"{noun}_activity_id": activity, "lodge_session_id": lodged},
        )

    def fetch(self, session_id: str) -> Document | None:
        """One row, or None."""
        return self._store.get(Kind.JOB, session_id)

    def of_user(self, username: str, batch_id: str | None = None) -> list[Document]:
        """A user's rows, newest first; of one batch if asked."""
        rows = [row for _, row in self._store.all(Kind.JOB) if row["username"] == username]
        if batch_id is not None:
            rows = [row for row in rows if row["batch_id"] == batch_id]
        return sorted(rows, key=lambda row: (row["created_timestamp"], row["session_id"]))[::-1]

    def _add(
        self, username: str, job_type: str, sub_type: str, payload: Document, result: Document
    ) -> str:
        session_id = str(uuid.uuid4())
        row: dict[str, Any] = {
            "session_id": session_id,
            "created_timestamp": int(time.time()),
            "username": username,
            "batch_id": None,
            "payload": payload,
            "job_type": job_type,
            "job_sub_type": sub_type,
            "gsi_status": "ok",
            "status": "SUCCEEDED",
            "info": None,
            "result": result,
        }
        self._store.put(Kind.JOB, session_id, row)
        return session_id
