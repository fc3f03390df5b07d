"""The files and the table of the block cache, shared by all mounts of a profile.

Invariants
- A segment is a stretch of one object version and has one row and one file, named by the row's id,
  in the folder of the table it belongs to. Ids are never reused, so that a segment evicted by one
  mount is never taken for a later one; nor is the folder, when a damaged table is made anew.
- A granule counts as present only once its bytes are written and its checksum is in the row. What
  SIGKILL or a power cut leaves behind is either not present or fails its checksum.
- Each process checks a granule's checksum before it serves it for the first time.
- A file is made and deleted in the transaction that makes and deletes its row, so that what
  another mount still writes never appears in a file made later.
- An object smaller than a granule is in its row, without a file: SQLite takes a tenth of the time.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from provenafs import private
from provenafs.content.cache.open_segments import OpenSegment, OpenSegments
from provenafs.content.cache.segment import (
    COLUMNS,
    GRANULE,
    SEGMENT,
    Damaged,
    Segment,
    checksums,
    granules,
)
from provenafs.lib import sqlite
from provenafs.lib.buffers import Buffers
from provenafs.lib.direct_io import read_at, read_directly, write_directly

_DISK_BLOCK = 4096
_VERIFIED_KEPT = 50_000
_AT_ONCE = 16 * GRANULE  # bytes
_VERSION = 4
# synchronous = OFF: see the invariants; checksums detect the damage of a power cut.
_PRAGMAS = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA journal_size_limit = 67108864;
"""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object BLOB NOT NULL,
    number INTEGER NOT NULL,
    present BLOB NOT NULL DEFAULT x'',
    sums BLOB NOT NULL DEFAULT x'',
    bytes INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL,
    data BLOB,
    UNIQUE (object, number)
);
CREATE INDEX IF NOT EXISTS segments_by_use ON segments (used, id, object, bytes);
CREATE TABLE IF NOT EXISTS pins (path BLOB PRIMARY KEY, object BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pins_by_object ON pins (object);
CREATE TABLE IF NOT EXISTS folder (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL);
INSERT OR IGNORE INTO folder VALUES (1, lower(hex(randomblob(8))));
"""


class Segments:
    """The store itself. `find` is quick and for the trio thread; the others are for workers."""

    def __init__(self, folder: Path, buffers: Buffers) -> None:
        """Open or make the store in `folder`; OSError or sqlite3.Error where it cannot be."""
        self._folders = folder / "blocks"
        self._path = folder / "blocks.sqlite"
        self._lock = threading.Lock()  # guards _writer
        self._verified: dict[int, int] = {}  # granules checked by this process, by segment
        self._touched: dict[int, int] = {}
        self._open = OpenSegments()
        self._buffers = buffers
        try:
            self._begin()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.discard()
            self._begin()

    def close(self) -> None:
        """Note what was used last and close."""
        with suppress(sqlite3.Error):
            self.note_use()
        self._open.close_all()
        with self._lock:
            self._reader.close()
            self._writer.close()

    # Reading

    def find(self, object_id: bytes, start: int, end: int) -> list[Segment] | None:
        """The segments that hold [start, end) of an object; None if any granule is missing."""
        found = [segment.row for segment in self._open.find(object_id, start, end)]
        if not _have(found, start, end):
            found = self._rows(object_id, start, end)
        if not _have(found, start, end):
            return None
        now = int(time.time())
        for segment in found:
            self._touched[segment.id] = now
        return found

    def _rows(self, object_id: bytes, start: int, end: int) -> list[Segment]:
        first, last = start // SEGMENT, (end - 1) // SEGMENT
        rows = self._reader.execute(
            f"SELECT {COLUMNS} FROM segments"
            " WHERE object = ? AND number BETWEEN ? AND ? ORDER BY number",
            (object_id, first, last),
        ).fetchall()
        return [Segment.of(row) for row in rows]

    def at_hand(self, segments: Sequence[Segment]) -> memoryview | None:
        """All bytes of a small object, which `find` has brought. Raises Damaged."""
        data = segments[0].data
        if data is None:
            return None
        self._verify(segments[0], 0, memoryview(data))
        return memoryview(data)

    def read_now(self, object_id: bytes, start: int, end: int) -> memoryview | None:
        """The bytes of [start, end) if their files are open and the page cache has them.

        None does not mean absent.
        """
        segments = self._open.find(object_id, start, end)
        if not segments:
            return None
        data = self._buffers.take(end - start)
        now = time.time()
        for segment in segments:
            base = segment.row.number * SEGMENT
            low, high = max(start, base), min(end, base + SEGMENT)
            if not self._fill_now(segment, low - base, data[low - start : high - start]):
                return None
            segment.used_at = now
            self._touched[segment.row.id] = int(now)
        return data

    def _fill_now(self, segment: OpenSegment, offset: int, into: memoryview) -> bool:
        wanted = granules(offset, offset + len(into))
        if self._is_verified(segment.row, wanted):
            return segment.fill_now(into, offset) == len(into)
        first = offset // GRANULE * GRANULE
        whole = memoryview(bytearray(wanted.bit_count() * GRANULE))
        whole = whole[: segment.fill_now(whole, first)]
        # A short or damaged segment is noticed by its readers.
        if len(whole) < offset - first + len(into):
            return False
        if not self._note_if_whole(segment.row, first, whole):
            return False
        into[:] = whole[offset - first :][: len(into)]
        return True

    def load(
        self, object_id: bytes, segments: Sequence[Segment], start: int, end: int
    ) -> memoryview:
        """The bytes of [start, end), which begins and ends with a granule, or ends the object.

        Raises OSError, Damaged.
        """
        return self._loaded(object_id, segments, start, end, read_directly)

    def load_at_random(
        self, object_id: bytes, segments: Sequence[Segment], start: int, end: int
    ) -> memoryview:
        """As `load`, through the page cache."""
        return self._loaded(object_id, segments, start, end, read_at)

    def _loaded(
        self,
        object_id: bytes,
        segments: Sequence[Segment],
        start: int,
        end: int,
        read: Callable[[int, memoryview, int], int],
    ) -> memoryview:
        data = self._buffers.take(end - start)
        for segment in segments:
            base = segment.number * SEGMENT
            low, high = max(start, base), min(end, base + SEGMENT)
            part = data[low - start : high - start]
            if read(self._opened(object_id, segment).fileno(), part, low - base) < len(part):
                raise Damaged(f"segment {segment.id} is too short")
            self._verify(segment, low - base, part)
        return data

    def opened(self, object_id: bytes, start: int, end: int) -> list[OpenSegment]:
        """The segments that hold [start, end) of an object, if all are open; else none."""
        return self._open.find(object_id, start, end)

    def read_through(self, segment: OpenSegment) -> None:
        """Bring a whole segment into the page cache and verify it. Raises OSError."""
        data = memoryview(bytearray(_AT_ONCE))
        for start in range(0, SEGMENT, _AT_ONCE):
            part = data[: os.preadv(segment.fileno(), (data,), start)]
            for low in range(0, len(part), GRANULE):
                self._note_if_whole(segment.row, start + low, part[low : low + GRANULE])

    def _note_if_whole(self, row: Segment, offset: int, data: memoryview) -> bool:
        wanted = granules(offset, offset + len(data))
        is_whole = row.has(wanted) and row.matches(offset, data)
        if is_whole:
            self._note_verified(row, wanted)
        return is_whole

    def _opened(self, object_id: bytes, row: Segment) -> OpenSegment:
        opened = self._open.get(object_id, row.number)
        if opened is None or opened.row.id != row.id:
            opened = self._open.open(object_id, row, self._file(row.id))
        opened.row, opened.used_at = row, time.time()
        return opened

    def _verify(self, segment: Segment, offset: int, data: memoryview) -> None:
        wanted = granules(offset, offset + len(data))
        if self._is_verified(segment, wanted):
            return
        if not segment.matches(offset, data):
            raise Damaged(f"segment {segment.id} is damaged")
        self._note_verified(segment, wanted)

    def _is_verified(self, segment: Segment, wanted: int) -> bool:
        return self._verified.get(segment.id, 0) & wanted == wanted

    def _note_verified(self, segment: Segment, verified: int) -> None:
        if len(self._verified) > _VERIFIED_KEPT:
            self._verified.clear()
        self._verified[segment.id] = self._verified.get(segment.id, 0) | verified

    def close_unused(self) -> None:
        """Close files that nobody has read from lately, or that another mount has evicted."""
        self._open.close_unused()

    def missing(self, object_id: bytes, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not here, in whole granules."""
        rows = self._reader.execute(
            "SELECT number, present FROM segments WHERE object = ? AND number BETWEEN ? AND ?",
            (object_id, start // SEGMENT, (end - 1) // SEGMENT),
        ).fetchall()
        present = {number: int.from_bytes(bits, "little") for number, bits in rows}
        missing: list[tuple[int, int]] = []
        for low in range(start // GRANULE * GRANULE, end, GRANULE):
            number, offset = divmod(low, SEGMENT)
            if present.get(number, 0) >> offset // GRANULE & 1:
                continue
            if missing and missing[-1][1] == low:
                missing[-1] = missing[-1][0], low + GRANULE
            else:
                missing.append((low, low + GRANULE))
        return missing

    def cached_bytes(self, object_id: bytes) -> int:
        """How many bytes of an object are here."""
        statement = "SELECT coalesce(sum(bytes), 0) FROM segments WHERE object = ?"
        return int(self._reader.execute(statement, (object_id,)).fetchone()[0])

    # Writing

    def store_small(self, objects: Iterable[tuple[bytes, memoryview]]) -> None:
        """Keep whole objects smaller than a granule, by id. Raises sqlite3.Error."""
        now = int(time.time())
        rows = [
            (name, b"\1", array("Q", checksums(data)).tobytes(), len(data), now, data)
            for name, data in objects
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO segments (object, number, present, sums, bytes, used, data)"
                " VALUES (?, 0, ?, ?, ?, ?, ?)",
                rows,
            )

    def store(self, object_id: bytes, start: int, data: memoryview) -> None:
        """Keep bytes from `start`, a multiple of GRANULE. Raises OSError, sqlite3.Error."""
        end = start + len(data)
        for base in range(start // SEGMENT * SEGMENT, end, SEGMENT):
            low, high = max(start, base), min(end, base + SEGMENT)
            self._store(object_id, base // SEGMENT, low - base, data[low - start : high - start])

    def _store(self, object_id: bytes, number: int, offset: int, data: memoryview) -> None:
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO segments (object, number, used) VALUES (?, ?, ?)",
                (object_id, number, int(time.time())),
            )
            segment = self._row(connection, object_id, number)
            if segment is not None and not segment.present:
                self._create(self._file(segment.id))
        if segment is None or segment.has(granules(offset, offset + len(data))):
            return
        try:
            self._write(segment.id, offset, data)
        except FileNotFoundError:  # deleted from the disk: nothing of it is present any more
            self.remove([segment.id])
            return
        sums = checksums(data)
        with self._transaction() as connection:
            current = self._row(connection, object_id, number)
            if current is not None and current.id == segment.id:  # else it was evicted meanwhile
                self._mark(connection, current, offset // GRANULE, sums, len(data))

    def _mark(
        self,
        connection: sqlite3.Connection,
        segment: Segment,
        first: int,
        written: Sequence[int],
        size: int,
    ) -> None:
        sums = segment.sums
        last = first + len(written)
        sums.extend([0] * (last - len(sums)))
        for position, checksum in enumerate(written, first):
            sums[position] = checksum
        new = (1 << last) - (1 << first)
        known = (segment.present & new).bit_count() * GRANULE
        present = segment.present | new
        connection.execute(
            "UPDATE segments SET present = ?, sums = ?, bytes = bytes + ?, used = ? WHERE id = ?",
            (
                present.to_bytes(-(-present.bit_length() // 8), "little"),
                sums.tobytes(),
                max(0, size - known),
                int(time.time()),
                segment.id,
            ),
        )

    def _create(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(private.open_file(path, os.O_CREAT | os.O_WRONLY))

    def _write(self, segment: int, offset: int, data: memoryview) -> None:
        descriptor = os.open(self._file(segment), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            write_directly(descriptor, data, offset)
        finally:
            os.close(descriptor)

    # Making room

    def usage(self) -> int:
        """Bytes on disk, as far as rows tell."""
        statement = "SELECT coalesce(sum(max(bytes, ?)), 0) FROM segments"
        with self._lock:
            return int(self._writer.execute(statement, (_DISK_BLOCK,)).fetchone()[0])

    def free(self) -> tuple[int, int]:
        """Bytes free for this user, and the size of the file system."""
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def evict(self, size: int) -> int:
        """Remove those used longest ago, at least `size` bytes if there are; returns how many."""
        self.note_use()
        with self._lock:
            rows = self._writer.execute(
                "SELECT id, max(bytes, ?) FROM segments"
                " WHERE object NOT IN (SELECT object FROM pins) ORDER BY used, id",
                (_DISK_BLOCK,),
            )
            chosen: list[int] = []
            evicted = 0
            for segment, on_disk in rows:
                if evicted >= size:
                    break
                chosen.append(segment)
                evicted += on_disk
            rows.close()
        self.remove(chosen)
        return evicted

    def remove(self, segments: Sequence[int]) -> None:
        """Remove segments by id."""
        with self._transaction() as connection:
            for segment in segments:
                self._file(segment).unlink(missing_ok=True)
                self._verified.pop(segment, None)
            connection.executemany("DELETE FROM segments WHERE id = ?", [(i,) for i in segments])
        self._open.close(segments)
        with self._lock:
            # As a script: `execute` stops after the first page that is given back.
            self._writer.executescript("PRAGMA incremental_vacuum")

    def note_use(self) -> None:
        """Write down what was read since the last time."""
        touched, self._touched = self._touched, {}
        if touched:
            with self._transaction() as connection:
                connection.executemany(
                    "UPDATE segments SET used = ? WHERE id = ?",
                    [(used, segment) for segment, used in touched.items()],
                )

    @property
    def uses_unwritten(self) -> int:
        """How many uses `note_use` would write down."""
        return len(self._touched)

    # By object

    def segments_of(self, object_id: bytes) -> list[int]:
        """The ids of an object's segments."""
        with self._lock:
            rows = self._writer.execute("SELECT id FROM segments WHERE object = ?", (object_id,))
            return [row[0] for row in rows]

    def pin(self, path: bytes, object_id: bytes) -> None:
        """Never evict this version of what is at a path, nor any other but it."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO pins VALUES (?, ?)", (path, object_id))

    def unpin(self, path: bytes) -> None:
        """Let what is at a path be evicted again."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM pins WHERE path = ?", (path,))

    def is_pinned(self, object_id: bytes) -> bool:
        """Whether an object is never evicted to make room."""
        found = self._reader.execute("SELECT 1 FROM pins WHERE object = ?", (object_id,))
        return found.fetchone() is not None

    # The database

    def _begin(self) -> None:
        private.folder(self._path.parent)
        private.prepare_database(self._path)
        private.folder(self._folders)
        self._writer = self._connect()
        self._reader = self._connect()
        (name,) = self._writer.execute("SELECT name FROM folder").fetchone()
        self._folder = self._folders / str(name)

    def _connect(self) -> sqlite3.Connection:
        return sqlite.connect_disposable(self._path, _PRAGMAS, _SCHEMA, _VERSION)

    def discard(self) -> None:
        """Delete everything: the next process that opens the store recreates it."""
        self._open.close_all()
        shutil.rmtree(self._folders, ignore_errors=True)
        sqlite.delete(self._path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _row(self, connection: sqlite3.Connection, object_id: bytes, number: int) -> Segment | None:
        row = connection.execute(
            f"SELECT {COLUMNS} FROM segments WHERE object = ? AND number = ?",
            (object_id, number),
        ).fetchone()
        return None if row is None else Segment.of(row)

    def _file(self, segment: int) -> Path:
        return self._folder / f"{segment % 256:02x}" / str(segment)


def _have(segments: Sequence[Segment], start: int, end: int) -> bool:
    """Whether these are all segments of [start, end) of the object, with all its granules."""
    numbers = range(start // SEGMENT, (end - 1) // SEGMENT + 1)
    if [segment.number for segment in segments] != list(numbers):
        return False
    bases = ((segment, segment.number * SEGMENT) for segment in segments)
    return all(
        segment.has(granules(max(start - base, 0), min(end - base, SEGMENT)))
        for segment, base in bases
    )
