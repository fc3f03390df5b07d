"""The journal keeps what was acknowledged, and hands it on only when its owner is gone."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from provenafs.content.journal import Journal
from provenafs.content.journal_schema import Action, State, new_row
from provenafs.content.mount_lock import UNOWNED, is_alive
from provenafs.errors import FSError
from tests.support.store import make_intent


async def test_rows_keep_what_they_are_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    row = dataclasses.replace(
        new_row(journal.owner, "10.1/2", "datasets/10-1-2/a"), base_etag='"e"', base_size=5
    )
    await journal.add(row)
    await journal.update(row.id, state=State.CLOSED, upload_id="u", parts=[(1, 0, 5, '"p"', None)])
    ((found, alive),) = await journal.rows()
    assert alive
    assert found == dataclasses.replace(
        row,
        state=State.CLOSED,
        upload_id="u",
        parts=((1, 0, 5, '"p"', None),),
        changed_at=found.changed_at,
    )
    journal.remove_later(row.id)
    await journal.close()
    journal = Journal(tmp_path)
    assert await journal.rows() == []
    await journal.close()
    assert stat.S_IMODE((tmp_path / "journal.sqlite").stat().st_mode) == 0o600


async def test_many_writers_share_transactions_and_all_are_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(journal.add, new_row(journal.owner, "d", f"key {number}"))
    keys = {row.key for row, _ in await journal.rows()}
    assert keys == {f"key {number}" for number in range(200)}
    await journal.close()


async def test_rows_of_a_living_mount_are_left_alone(tmp_path: Path) -> None:
    living, other = Journal(tmp_path), Journal(tmp_path)
    await living.add(new_row(living.owner, "d", "k"))
    await living.add(new_row(UNOWNED, "d", "left to recovery"))
    assert await other.adopt() == []
    assert [alive for _, alive in await other.rows()] == [True, False]
    await living.close()
    assert [row.key for row in await other.adopt()] == ["k"]
    await other.close()


async def test_intents_are_handed_on_too(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    intent = make_intent(first, Action.RENAME, "d", "a/", target="b/")
    await first.record_intent(intent)
    await first.close()
    second = Journal(tmp_path)
    assert await second.intents() == []
    await second.adopt()
    assert [(found.id, found.target) for found in await second.intents()] == [(intent.id, "b/")]
    await second.complete_intent(intent.id)
    assert await second.intents() == []
    await second.close()


async def test_a_killed_process_loses_no_row(tmp_path: Path) -> None:
    program = (
        "import sys, trio\n"
        "from pathlib import Path\n"
        "from provenafs.content.journal import Journal\n"
        "from provenafs.content.journal_schema import new_row\n"
        "async def main():\n"
        "    journal = Journal(Path(sys.argv[1]))\n"
        "    for number in range(10**6):\n"
        "        await journal.add(new_row(journal.owner, 'd', f'{number}'))\n"
        "        print(number, flush=True)\n"
        "trio.run(main)\n"
    )
    acknowledged = _lines_until_killed(program, tmp_path)
    journal = Journal(tmp_path)
    rows = await journal.adopt()
    await journal.close()
    assert len(acknowledged) <= len(rows) <= len(acknowledged) + 1


async def test_a_journal_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:

    journal = Journal(tmp_path)
    await journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FSError, match="newer provenafs"):
        Journal(tmp_path)


async def test_several_may_make_the_journal_at_once(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.sqlite", check_same_thread=False) as first:
        first.execute("BEGIN IMMEDIATE")  # as another does that has just made the file
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, _open_and_release, tmp_path)
            await trio.sleep(0.2)
            first.rollback()
    first.close()


def _open_and_release(folder: Path) -> None:
    Journal(folder)._owner.release()


async def test_a_journal_in_use_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenafs.content.journal._BUSY_TIMEOUT_S", 0.1)
    with sqlite3.connect(tmp_path / "journal.sqlite") as first:
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(FSError, match="locked") as caught:
            Journal(tmp_path)
    first.close()
    assert "move it away" not in caught.value.message
    (tmp_path / "journal.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(FSError, match="move it away"):
        Journal(tmp_path)


async def test_whoever_looks_for_the_owner_is_not_taken_for_it(tmp_path: Path) -> None:
    gone = Journal(tmp_path)
    await gone.add(new_row(gone.owner, "d", "k"))
    gone._connection.close()
    os.close(gone._owner._file)  # killed
    looking = fcntl.flock

    def look_twice(file: int, operation: int) -> None:
        looking(file, operation)
        if operation & fcntl.LOCK_NB and not seen:
            seen.append(False)
            seen[0] = is_alive(tmp_path / "owners", gone.owner)

    seen: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", look_twice)
        assert not is_alive(tmp_path / "owners", gone.owner)
    assert seen == [False]


def _lines_until_killed(program: str, folder: Path) -> list[bytes]:
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline() for _ in range(20)]
        process.kill()
        return lines + process.stdout.readlines()
