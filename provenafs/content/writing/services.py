"""What the files of a mount share."""

from __future__ import annotations

from dataclasses import dataclass

from provenafs.content.journal import Journal
from provenafs.content.listing.index import Index
from provenafs.content.staging.staged_bytes import StagingArea
from provenafs.content.writing.multipart import UploadContext
from provenafs.guard import Background


@dataclass(frozen=True, slots=True)
class FileServices:
    """What every file of a mount uses; `nursery` owns what goes on in the background.

    `writeback`: a close is acknowledged once the bytes are on the local disk.
    """

    index: Index
    journal: Journal
    area: StagingArea
    uploads: UploadContext
    nursery: Background
    writeback: bool
