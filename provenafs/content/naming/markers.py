"""Directory markers: empty objects whose keys end in a slash, so that S3 shows empty folders."""

from __future__ import annotations

import time
import uuid

from provenafs.content.volume import Volume
from provenafs.s3.errors import PreconditionFailed
from provenafs.s3.metadata import Metadata

_CONTENT_TYPE = "application/x-directory"


async def put_marker(volume: Volume, key: str) -> bool:
    """Put the marker of the directory `key` (without its slash); False if there was one."""
    metadata = Metadata(uuid.uuid4().hex, time.time_ns(), _CONTENT_TYPE)
    try:
        await volume.writer.put(f"{key}/", b"", None, metadata)
    except PreconditionFailed:
        return False
    return True
