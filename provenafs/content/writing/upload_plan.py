"""Plans the parts of an upload: server-side copies and sent bytes.

Pure arithmetic: no bytes are read here. A part of the new object lies at the same offset in the
old one, so that a part is either copied from there by the server or sent by us. A sent part may
hold bytes of the old object too: the sender fetches them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from provenafs.content.staging.ranges import Ranges

MIB = 1024 * 1024
MIN_PART = 5 * MIB  # S3's minimum for all parts but the last
MAX_PARTS = 10_000  # S3's maximum
SINGLE_PUT = 16 * MIB  # up to here one PUT is at least as fast as a multipart upload

_FIRST_PART = 8 * MIB
# Part sizes double every 1,000 parts: 8 MiB serve 8 GB, and 5 TiB take 9,282 parts.
_PARTS_OF_A_SIZE = 1000
_LARGEST_JOINED = 64 * MIB
_COPY_PART = 256 * MIB  # the server copies parts in parallel
_COPIES = 5000  # how many copies a plan has at most, half of the parts


class PartOrigin(Enum):
    """Where the bytes of a part come from."""

    COPY = "copy"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Part:
    """The range [start, end) of the new object, in bytes."""

    source: PartOrigin
    start: int
    end: int

    @property
    def length(self) -> int:
        """Size in bytes."""
        return self.end - self.start


def plan(dirty: Ranges, base_size: int, size: int) -> tuple[Part, ...]:
    """The parts of an object of `size` bytes, in order; a single sent part means one PUT.

    `base_size` is how many leading bytes of the old object still count (0: there is none), and
    `dirty` what was changed among them. The whole object is sent when the plan would move more
    than half of it or has too many parts.
    """
    whole = tuple(send_parts(0, size, 1, last=True)) if size > SINGLE_PUT else (_send(0, size),)
    if len(whole) == 1:
        return whole
    parts = tuple(_cut(_grow(_runs(dirty, min(base_size, size), size), size), size))
    moved = sum(part.length for part in parts if part.source is PartOrigin.SEND)
    if moved * 2 > size or len(parts) > MAX_PARTS:
        return whole
    return parts


def in_other_parts(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The same bytes cut otherwise where that can be, so that the object has another ETag."""
    if len(parts) < 2:
        return parts
    *others, before, last = parts
    if {before.source, last.source} != {
        PartOrigin.SEND
    } or last.end - before.start > _LARGEST_JOINED:
        return parts
    return (*others, _send(before.start, last.end))


def part_range(number: int) -> tuple[int, int]:
    """The range of part `number` (from 1) of an object that is sent from its start, in bytes."""
    doublings, index = divmod(number - 1, _PARTS_OF_A_SIZE)
    start = _PARTS_OF_A_SIZE * _FIRST_PART * ((1 << doublings) - 1)
    length = _FIRST_PART << doublings
    return start + index * length, start + (index + 1) * length


def send_parts(start: int, end: int, number: int, *, last: bool) -> Iterator[Part]:
    """Cut what is sent into parts, beginning with part `number`.

    Unless it is the `last` run of the object, a rest that is too short is joined to the part
    before it.
    """
    while start < end:
        first, behind = part_range(number)
        stop = min(end, start + behind - first)
        if not last and end - stop < MIN_PART:
            stop = end
        yield _send(start, stop)
        start = stop
        number += 1


def _runs(dirty: Ranges, base_size: int, size: int) -> list[Part]:
    """Alternating runs: what the old object has is a copy, all else is sent."""
    sent = dirty.copy()
    sent.truncate(size)
    sent.add(base_size, size)
    runs = [_send(*run) for run in sent.within(0, size)]
    runs += [Part(PartOrigin.COPY, *run) for run in sent.gaps(0, size)]
    return sorted(runs, key=lambda run: run.start)


def _grow(runs: list[Part], size: int) -> Iterator[Part]:
    """Let sent runs take bytes from copies, until no run but the last is too short."""
    start = 0  # of the sent run that is being grown
    end = 0
    for run in runs:
        if run.source is PartOrigin.SEND:
            end = run.end
            continue
        missing = max(0, MIN_PART - (end - start)) if end > start else 0
        remaining = run.length - missing
        if remaining < MIN_PART and not (run.end == size and remaining > 0):
            end = run.end
            continue
        if end > start:
            end += missing
            yield _send(start, end)
        yield Part(PartOrigin.COPY, run.start + missing, run.end)
        start = end = run.end
    if end > start:
        yield _send(start, end)


def _cut(runs: Iterator[Part], size: int) -> Iterator[Part]:
    """Cut runs into parts of a size the server takes."""
    number = 1
    copy_part = max(_COPY_PART, -(-size // _COPIES))
    for run in runs:
        if run.source is PartOrigin.SEND:
            parts = list(send_parts(run.start, run.end, number, last=run.end == size))
        else:
            parts = _even(run, copy_part)
        number += len(parts)
        yield from parts


def _even(run: Part, limit: int) -> list[Part]:
    """Copies of about equal length, none above `limit`."""
    count = -(-run.length // limit)
    edges = [run.start + run.length * index // count for index in range(count + 1)]
    return [Part(PartOrigin.COPY, *edge) for edge in itertools.pairwise(edges)]


def _send(start: int, end: int) -> Part:
    return Part(PartOrigin.SEND, start, end)
