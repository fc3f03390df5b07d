"""`.provenafs/`: status and metrics of the mount."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Callable, Iterator, Mapping

from provenafs.content.listing.index import Entry
from provenafs.errors import FSError
from provenafs.tree.context import Context
from provenafs.tree.directory import VirtualDirectory
from provenafs.tree.documents import LiveDocument
from provenafs.tree.node import DirectoryHandle, Node


class MountInfo(VirtualDirectory):
    """Live files about this mount."""

    def child(self, entry: Entry) -> Node:
        document = _DOCUMENTS.get(entry.name)
        if document is None:
            raise FSError(errno.ESTALE)
        return document(self.context, entry.ino)

    async def lookup(self, name: str) -> Node:
        if name not in _DOCUMENTS:
            raise FSError(errno.ENOENT)
        return self.child_called(name)

    async def listing(self) -> DirectoryHandle:
        return await self.snapshot(list(_DOCUMENTS))


class _LiveJson(LiveDocument):
    """A JSON document about the mount, as of when it is opened."""

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self.context = context

    def document(self) -> object:
        """The content of the file."""
        raise NotImplementedError

    async def content(self) -> bytes:
        return json.dumps(self.document(), indent=2).encode() + b"\n"


class _StatusFile(_LiveJson):
    """status.json: the mount and its state."""

    def document(self) -> object:
        return self.context.status()


class _PendingFile(_LiveJson):
    """pending.json: pending transfers; sizes in bytes."""

    def document(self) -> object:
        return [dataclasses.asdict(transfer) for transfer in self.context.store.transfers()]


class _MetricsFile(LiveDocument):
    """Counters in the text format of Prometheus, version 0.0.4."""

    def __init__(self, context: Context, ino: int) -> None:
        super().__init__(ino)
        self.context = context

    async def content(self) -> bytes:
        status = self.context.status()
        transfers = self.context.store.transfers()
        lines = [
            *_samples("peak_rss_bytes", "gauge", {"": status["peak_rss"]}),
            *_samples("open_handles", "gauge", {"": status.get("open_handles", 0)}),
            *_samples("pending_files", "gauge", {"": len(transfers)}),
            *_samples("pending_bytes", "gauge", {"": sum(one.size for one in transfers)}),
            *self._lanes(),
            *_samples("read_ahead_bytes_total", "counter", self._read_ahead()),
            *_samples(
                "whole_fetch_bytes_total", "counter", {"": self.context.content.whole.fetched}
            ),
        ]
        for name, label in _COUNTERS.items():
            counts = status.get(name)
            if isinstance(counts, dict):
                labelled = {f'{{{label}="{key}"}}': value for key, value in counts.items()}
                lines += _samples(f"{name}_total", "counter", labelled)
        return "".join(lines).encode()

    def _lanes(self) -> Iterator[str]:
        """How many connections large transfers may use at present, and what those brought."""
        s3 = self.context.content.s3
        lanes = {
            '{direction="download"}': s3.download_lanes,
            '{direction="upload"}': s3.upload_lanes,
        }
        limits = {direction: each.limit for direction, each in lanes.items()}
        brought = {direction: round(each.throughput) for direction, each in lanes.items()}
        yield from _samples("connections_limit", "gauge", limits)
        yield from _samples("throughput_bytes_per_second", "gauge", brought)

    def _read_ahead(self) -> dict[str, object]:
        """Read-ahead in memory; bytes dropped there may still be in the cache."""
        memory = self.context.content.memory
        return {
            '{outcome="used"}': memory.ahead_used,
            '{outcome="dropped"}': memory.ahead_dropped,
        }


# Of the status: what is counted, and by what.
_COUNTERS = {"operations": "operation", "errors": "errno", "background_failures": "task"}


def _samples(name: str, kind: str, values: Mapping[str, object]) -> Iterator[str]:
    yield f"# TYPE provenafs_{name} {kind}\n"
    for labels, value in values.items():
        yield f"provenafs_{name}{labels} {value}\n"


_DOCUMENTS: dict[str, Callable[[Context, int], Node]] = {
    "metrics": _MetricsFile,
    "pending.json": _PendingFile,
    "status.json": _StatusFile,
}
