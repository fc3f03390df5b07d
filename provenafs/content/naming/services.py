"""What changes of names use of a mount."""

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
    """The files that names stand for, who is at work on which name, and what is owed."""

    content: Content
    files: OpenFiles
    claims: Claims
    journal: Journal
    deferred_deletes: DeferredDeletes
    attribute_updates: AttributeUpdates
    progress: Progress
