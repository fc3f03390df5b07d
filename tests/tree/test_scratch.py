"""The files that are made beside metadata.json, the text under way in it, and their memory."""

from __future__ import annotations

import errno
import gc
import weakref

import pytest

from provenafs.errors import FSError
from provenafs.tree.draft import Draft, DraftHandle
from provenafs.tree.memory import DocumentMemory
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
        ".~lock.metadata.json#",
        "XX3jjHRW",
        "gawk.aB3dE9",
        "tmp",
        "tmp.json",
        "tmp.Ab3dEf9kLm",
        "tmpab12_xyz",
        "metadata.new",
        "new.json",
    ],
)
def test_names_of_a_moment(name: str) -> None:
    assert is_scratch(name)


@pytest.mark.parametrize(
    "name",
    ["metadata.json", "notes.txt", "data", "temperature.nc", "news.csv", ".Trash-0", "sediment"],
)
def test_other_names(name: str) -> None:
    assert not is_scratch(name)


def test_documents_share_one_memory_and_give_it_back() -> None:
    memory = DocumentMemory(most=1000, most_written=800)
    files = ScratchFiles(memory)
    texts = [files.text() for _ in range(1024)]
    with pytest.raises(FSError) as full:
        files.text()
    assert full.value.errno == errno.ENOSPC
    files.put(1, texts[0])
    del texts
    (first, second), minted = (files.text(b"x" * 300), files.text()), memory.read(200)
    second.write(0, b"x" * 300)
    with pytest.raises(FSError, match="too much"):
        second.write(0, b"x" * 301)
    with pytest.raises(FSError, match="too much"):
        files.text(b"x")
    assert len(second) == 300
    shown = memory.read(200)
    with pytest.raises(FSError):
        memory.read(1)
    files.drop(1)
    first.truncate(100)
    assert memory.used == 800
    del first, second, minted, shown
    assert memory.used == 0


async def test_a_failure_that_is_told_again_keeps_nothing_of_its_text() -> None:
    class Parsed:
        pass

    made: list[weakref.ref[Parsed]] = []

    async def save(text: bytes) -> None:
        parsed = Parsed()
        made.append(weakref.ref(parsed))
        raise FSError(errno.EINVAL, "bad")

    draft = Draft(Text(DocumentMemory(), 5), save)
    draft.write(0, b"bad")
    for _ in range(2):
        with pytest.raises(FSError, match="bad"):
            await draft.save()
    gc.collect()
    assert [parsed() for parsed in made] == [None]


def test_a_text_is_bounded() -> None:
    text = Text(DocumentMemory(), 10, b"abc")
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

    draft = Draft(Text(DocumentMemory(), 5, b"old"), save)
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
    await second.write(0, b"fit")  # which does not bring back what is missing
    with pytest.raises(FSError, match="MiB"):
        await first.flush()
    draft.truncate(0)
    await first.write(0, b"ba")
    await first.sync()
    assert saved == [b"new", b"bad", b"ba"]


async def test_a_cut_that_is_refused_changes_nothing() -> None:
    async def save(text: bytes) -> None:
        raise FSError(errno.EINVAL, "bad")

    draft = Draft(Text(DocumentMemory(), 5, b"whole"), save)
    with pytest.raises(FSError, match="bad"):
        await draft.cut(2)
    assert bytes(draft.text) == b"whole"
    with pytest.raises(FSError, match="MiB"):
        await draft.cut(6)
    assert bytes(draft.text) == b"whole"
