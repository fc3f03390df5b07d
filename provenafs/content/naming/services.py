"""Services of a mount used by name changes."""

from __future__ import annotations

from dataclasses import dataclass

from provenafs.content.claims import Claims
from provenafs.content.content import Content
from provenafs.content.journal import Journal
from provenafs.content.naming.attribute_updates import AttributeUpdates
from provenafs.content.naming.deferred_deletes import DeferredDeletes
from provenafs.content.writing.open_files import OpenFiles
from provenafs.lib.progress import Progress


@dataclass(frozen=True, slots=True)
class NamingServices:
    """Open files, claims, and pending deletions and attribute updates."""

    content: Content
    files: OpenFiles
    claims: Claims
    journal: Journal
    deferred_deletes: DeferredDeletes
    attribute_updates: AttributeUpdates
    progress: Progress
