"""The bucket side of a rename: copy every object, then delete every original.

A rename is made of moves, each of one version of one object, which its intent in the journal holds.
What it does not hold is never touched, however long after a crash the intent is carried out.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from provenafs.content.journal_schema import Intent, Move
from provenafs.content.naming.attribute_updates import copy_object
from provenafs.content.naming.markers import put_marker
from provenafs.content.volume import Volume
from provenafs.content.writing.attributes import Attributes
from provenafs.lib.parallel import run_all
from provenafs.s3.errors import NoSuchKey, PreconditionFailed, is_transient
from provenafs.s3.metadata import Head
from provenafs.s3.pages import Pages
from provenafs.s3.types import ObjectInfo

log = logging.getLogger(__name__)

_AT_ONCE = 16
_SECOND_NS = 10**9


async def objects_below(volume: Volume, prefix: str) -> AsyncIterator[ObjectInfo]:
    """The objects below a prefix, including the marker of the directory itself."""
    pages = Pages(volume.drive.bucket, prefix)
    while (page := await pages.next()) is not None:
        for item in page.objects:
            yield item


def move_below(item: ObjectInfo, prefix: str, target: str) -> Move:
    """The move of an object that a listing below `prefix` has shown."""
    return Move(
        item.key, item.etag, item.size, item.modified_ns, target + item.key[len(prefix) :],
        storage_class=item.storage_class,
    )  # fmt: skip


# Copying


async def copy_all(
    volume: Volume, intent: Intent, moves: Sequence[Move], made: Callable[[], None]
) -> dict[str, str]:
    """Copy all objects; the ETags of what was made, by the keys of the originals.

    `made` is called with every copy. S3Error, FSError: the caller rolls the copies back.
    """
    etags: dict[str, str] = {}
    failures: list[Exception] = []

    async def copy(move: Move) -> None:
        if failures:
            return
        try:
            etag = await _copy(volume, intent, move)
            if etag is not None:
                etags[move.key] = etag
            made()
        except Exception as error:  # those under way end first, to be taken back
            failures.append(error)
            there = await _made(volume, intent, move) if is_transient(error) else None
            if there is not None:
                etags[move.key] = there.etag

    await _each(copy, moves)
    if failures:
        await take_back(volume, moves, etags)
        raise failures[0]
    return etags


async def take_back(volume: Volume, moves: Sequence[Move], etags: Mapping[str, str]) -> int:
    """Delete copies, but for those that have replaced something; how many could not be."""
    left = 0

    async def delete(move: Move) -> None:
        nonlocal left
        try:
            await volume.writer.delete(move.target, etags[move.key] or None)
        except Exception as error:  # also of the credential source
            log.warning("the copy %s could not be deleted: %s", move.target, error)
            left += 1

    await _each(delete, (move for move in moves if move.key in etags and move.replaced is None))
    return left


async def _copy(volume: Volume, intent: Intent, move: Move) -> str | None:
    """Copy an object; its ETag there. Not all stores copy markers: they are made.

    None for a marker that was there before. A copy that gets another ETag carries the id of the
    intent, by which it is known again.
    """
    if _is_marker(move):
        return move.etag if await put_marker(volume, move.target.removesuffix("/")) else None
    if intent.mtime_ns is not None or intent.mode is not None or "-" in move.etag:
        given = Attributes(intent.mtime_ns, intent.mode)
        return await copy_object(volume, move, intent.id, given)
    return await volume.writer.copy(
        move.key, move.etag, move.target, move.replaced,
        size=move.size, storage_class=move.storage_class,
    )  # fmt: skip


async def _made(volume: Volume, intent: Intent, move: Move) -> Head | None:
    """A copy without a response, if it exists; None if that is unknown."""
    if _is_marker(move) or move.etag == move.replaced:
        return None
    try:
        there = await volume.writer.head(move.target)
    except Exception:
        return None
    return there if _is_made_of(intent, move, None, there) else None


def _is_marker(move: Move) -> bool:
    return move.size == 0 and move.key.endswith("/")


# Deleting


class Removals:
    """The outcome for the originals: how many are deleted, pending and refused."""

    def __init__(self) -> None:
        self.made = 0
        self.late: list[Move] = []
        self.refused: list[tuple[Move, Exception]] = []

    async def make(self, volume: Volume, moves: Sequence[Move], made: Callable[[], None]) -> None:
        """Delete the originals: first one alone, so that a refusal of all leaves all as it was."""

        async def delete(move: Move) -> None:
            try:
                await volume.writer.delete(move.key, move.etag or None)
                self.made += 1
            except PreconditionFailed:
                log.info("%s was changed by another client: it stays", move.key)
            except Exception as error:  # also of the credential source
                if is_transient(error):
                    self.late.append(move)
                else:
                    self.refused.append((move, error))
            made()

        await _each(delete, moves[:1])
        if not self.refused:
            await _each(delete, moves[1:])


# Moves begun by an earlier mount


@dataclass(slots=True)
class Ending:
    """The moves that a rename has not made, now or before the crash, and the other outcomes.

    `refused`: another file has the place they go to. `void`: there is nothing to move any more.
    `etags`: of the copies that are there, by their keys.
    """

    refused: list[Move] = field(default_factory=list)
    void: list[Move] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)


async def finish(volume: Volume, intent: Intent) -> Ending:
    """Carry a rename to its end on what it was made of. S3Error, FSError.

    An original that was stored again since is another file, and stays.
    """
    await volume.may_write()
    moves = intent.moves
    if moves is None:
        moves = await _moves_of_unnoted(volume, intent)
    ending = Ending()

    async def move_on(move: Move) -> None:
        try:
            await _move_on(volume, intent, move, ending)
        except (PreconditionFailed, NoSuchKey):
            log.info("%s was changed by another client: it stays", move.key)
            ending.void.append(move)
        for key in (move.key, move.target):
            volume.drive.expire(key)

    await _each(move_on, moves)
    for key in (intent.key, intent.target):
        volume.drive.expire(key.rstrip("/"))
    return ending


async def _moves_of_unnoted(volume: Volume, intent: Intent) -> tuple[Move, ...]:
    """The moves of an intent that an earlier version wrote: of what is older than it."""
    return tuple(
        [
            move_below(item, intent.key, intent.target)
            async for item in objects_below(volume, intent.key)
            if item.modified_ns <= intent.changed_at * 1e9
        ]
    )


async def _move_on(volume: Volume, intent: Intent, move: Move, ending: Ending) -> None:
    original, there = await _head(volume, move.key), await _head(volume, move.target)
    is_there = there is not None and _is_made_of(intent, move, original, there)
    if there is not None and is_there:
        ending.etags[move.target] = there.etag
    if original is None or _is_another(original, move, there if is_there else None, intent):
        if not is_there:
            ending.void.append(move)
        return
    if not is_there:
        if there is not None and there.etag != move.replaced:
            log.warning("%s stays: %s is another file", move.key, move.target)
            ending.refused.append(move)
            return
        etag = await _copy(volume, intent, move if there else replace(move, replaced=None))
        ending.etags[move.target] = etag or move.etag
    await volume.writer.delete(move.key, original.etag)


def _is_another(original: Head, move: Move, copied: Head | None, intent: Intent) -> bool:
    """Whether an object is not the one to be moved: also equal bytes may have been stored anew.

    HEAD returns whole seconds only.
    """
    if move.etag and original.etag != move.etag:
        return True
    if move.modified_ns is not None:
        return abs(original.modified_ns - move.modified_ns) >= _SECOND_NS
    copied_at_ns = copied.modified_ns if copied else intent.changed_at * _SECOND_NS
    return original.modified_ns // _SECOND_NS * _SECOND_NS > copied_at_ns


def _is_made_of(intent: Intent, move: Move, original: Head | None, there: Head) -> bool:
    """Whether an object is the copy that a move makes.

    The copy of a multipart object has another ETag; then only the write id identifies it.
    """
    if _is_marker(move) or there.etag == move.etag:
        return True
    ids = {intent.id, original.metadata.write_id if original else ""} - {""}
    return there.size == move.size and there.metadata.write_id in ids


async def _head(volume: Volume, key: str) -> Head | None:
    try:
        return await volume.writer.head(key)
    except NoSuchKey:
        return None


async def _each(work: Callable[[Move], Awaitable[None]], moves: Iterable[Move]) -> None:
    """Do it to all moves, so many at once."""
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def one(move: Move) -> None:
        async with limiter:
            await work(move)

    await run_all(partial(one, move) for move in moves)
