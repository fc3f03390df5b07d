"""State shared by the files of a mount."""

from __future__ import annotations

from dataclasses import dataclass

from provenafs.content.journal import Journal
from provenafs.content.listing.index import Index
from provenafs.content.staging.staged_bytes import StagingArea
from provenafs.content.writing.multipart import UploadContext
from provenafs.guard import Background


@dataclass(frozen=True, slots=True)
class FileServices:
    """Services used by every file of a mount; `nursery` owns background tasks.

    `writeback`: a close is acknowledged once the bytes are on the local disk.
    """

    index: Index
    journal: Journal
    area: StagingArea
    uploads: UploadContext
    nursery: Background
    writeback: bool
