"""The files that editors make beside metadata.json, and the text under way in it."""

from __future__ import annotations

import errno

import pytest

from provenafs.errors import FSError
from provenafs.tree.draft import Draft, DraftHandle
from provenafs.tree.scratch import ScratchFiles, is_scratch
from provenafs.tree.text import Text


@pytest.mark.parametrize(
    "name",
    [
        "4913",
        ".metadata.json.swp",
        ".metadata.json.swx",
        "metadata.json~",
        "metadata.json.bak",
        "metadata.json.tmp.1234.5678",
        "metadata.json.vsctmp",
        ".metadata.json.nK2f9a",
        "sedAb12Cd",
        ".#metadata.json",
        ".#-emacsX7aB2k",
        "#metadata.json#",
        ".goutputstream-AB12CD",
    ],
)
def test_names_of_a_moment(name: str) -> None:
    assert is_scratch(name)


@pytest.mark.parametrize(
    "name", ["metadata.json", "notes.txt", "data", "my-metadata.json", ".Trash-0", "sediment"]
)
def test_other_names(name: str) -> None:
    assert not is_scratch(name)


def test_scratch_files_are_bounded() -> None:
    files = ScratchFiles()
    for ino in range(256):
        files.put(ino)
    with pytest.raises(FSError) as full:
        files.put(256)
    assert full.value.errno == errno.ENOSPC
    files.drop(0)
    files.put(256)
    with pytest.raises(FSError):
        files.check_room(129 * 1024**2)


def test_a_text_is_bounded() -> None:
    text = Text(10, b"abc")
    text.write(5, b"de")
    assert bytes(text) == b"abc\0\0de"
    text.truncate(1)
    text.truncate(3)
    assert text.read(0, 9) == b"a\0\0"
    for change in (lambda: text.write(9, b"xy"), lambda: text.truncate(11)):
        with pytest.raises(FSError) as large:
            change()
        assert large.value.errno == errno.EFBIG
    assert bytes(text) == b"a\0\0"


async def test_a_draft_is_saved_once_and_fails_at_each_close() -> None:
    saved: list[bytes] = []

    async def save(text: bytes) -> None:
        saved.append(text)
        if text == b"bad":
            raise FSError(errno.EINVAL, "bad")

    draft = Draft(b"old", 5, save)
    first, second = (DraftHandle(draft, lambda: None) for _ in range(2))
    await first.flush()
    draft.truncate(0)
    await first.flush()
    assert draft.is_unsaved
    await first.write(0, b"new")
    await first.flush()
    await second.flush()
    assert saved == [b"new"]
    await second.write(0, b"bad")
    for handle in (first, second):
        with pytest.raises(FSError, match="bad"):
            await handle.flush()
    assert saved == [b"new", b"bad"]
    with pytest.raises(FSError):
        await first.write(3, b"long")
    with pytest.raises(FSError, match="MiB"):
        await first.flush()
    draft.truncate(2)
    await first.sync()
    assert saved == [b"new", b"bad", b"ba"]
