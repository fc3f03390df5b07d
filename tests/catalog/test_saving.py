"""Saving metadata against the services of the sandbox: what is sent, and what is refused."""

from __future__ import annotations

import copy
import errno
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.documents import metadata_json
from provenafs.catalog.saving import MAX_TEXT, Saved, Saving, fingerprint, parse
from provenafs.config import load_settings
from provenafs.content.listing.database import Database
from provenafs.errors import FSError
from provenafs.provena.client import Provena
from provenafs.provena.errors import Invalid, LoginRequired, ProvenaError, Unauthorised
from tests.support.running_sandbox import RunningSandbox

LOCKED = "10378.1/1451960"
COMMON_POOL = "10378.1/1452060"
RELEASED = "10378.1/1451940"
PENGUINS = "10378.1/1451870"


@dataclass(frozen=True, slots=True)
class Editor:
    """Somebody who reads and saves metadata."""

    catalog: Catalog
    saving: Saving

    async def read(self, handle: str) -> dict[str, Any]:
        """The metadata as of now, free to be changed."""
        dataset = await self.catalog.dataset(handle, max_age=0)
        return copy.deepcopy(dataset.record.collection_format)

    async def save(
        self, handle: str, read: dict[str, Any], changed: dict[str, Any], reason: str = "tidied"
    ) -> Saved:
        text = json.dumps(changed).encode()
        return await self.saving.save(handle, text, fingerprint(read), reason)


As = Callable[[str], AbstractAsyncContextManager[Editor]]


@pytest.fixture
def editor(sandbox: RunningSandbox, tmp_path: Path) -> As:
    @asynccontextmanager
    async def connect(user: str) -> AsyncIterator[Editor]:
        settings = load_settings(environ=sandbox.env(user), state_dir=tmp_path)
        database = Database(None, "", 1)
        async with Provena.connect(settings) as provena:
            catalog = Catalog(provena, database, ttl=30)
            yield Editor(catalog, Saving(catalog, provena.datastore))
        database.close()

    return connect


@pytest.fixture
def handle(sandbox: RunningSandbox) -> str:
    return sandbox.mint("alice", "To be edited", user_metadata={"project": "R-7"})


def _changed(document: dict[str, Any], **info: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    changed["dataset_info"] |= info
    return changed


async def test_an_update_adds_an_entry_with_the_reason(
    editor: As, sandbox: RunningSandbox, handle: str
) -> None:
    async with editor("alice") as alice:
        read = await alice.read(handle)
        changed = _changed(read, name="Edited", license="https://example.org")
        assert await alice.save(handle, read, changed, "a better name") is Saved.UPDATED
        shown = await alice.catalog.dataset(handle)
    item = sandbox.item(handle)
    assert item["display_name"] == "Edited"
    assert item["history"][0]["reason"] == "a better name"
    # As written: no model has put a slash behind it.
    assert item["collection_format"]["dataset_info"]["license"] == "https://example.org"
    assert shown.record.raw == item


@pytest.mark.parametrize("form", ["same", "compact", "with nulls", "other order", "with a BOM"])
async def test_what_says_the_same_is_not_sent(
    editor: As, sandbox: RunningSandbox, handle: str, form: str
) -> None:
    async with editor("alice") as alice:
        read = await alice.read(handle)
        text = {
            "same": metadata_json(read),
            "compact": json.dumps(read, separators=(",", ":")).encode(),
            "with nulls": json.dumps(_changed(read, purpose=None)).encode(),
            "other order": json.dumps(dict(reversed(read.items()))).encode(),
            "with a BOM": b"\xef\xbb\xbf" + metadata_json(read),
        }[form]
        before = sandbox.item(handle)
        saved = await alice.saving.save(handle, text, fingerprint(read), "none")
        assert saved is Saved.UNCHANGED
    assert sandbox.item(handle) == before


async def test_an_earlier_state_is_reverted_to(
    editor: As, sandbox: RunningSandbox, handle: str
) -> None:
    async with editor("alice") as alice:
        first = await alice.read(handle)
        second = _changed(first, name="Second")
        await alice.save(handle, first, second)
        read = await alice.read(handle)
        assert await alice.save(handle, read, first, "the old one") is Saved.REVERTED
    item = sandbox.item(handle)
    assert item["display_name"] == "To be edited"
    newest = item["history"][0]
    assert newest["reason"] == "Reverting dataset to history id 0. Reason: the old one."
    assert newest["id"] == 2


async def test_a_change_by_somebody_else_is_not_overwritten(
    editor: As, sandbox: RunningSandbox, handle: str
) -> None:
    async with editor("alice") as alice, editor("admin") as admin:
        read = await alice.read(handle)
        await admin.save(handle, await admin.read(handle), _changed(read, name="Theirs"))
        with pytest.raises(FSError, match="changed by another client") as refused:
            await alice.save(handle, read, _changed(read, name="Ours"))
        assert refused.value.errno == errno.ESTALE
        assert sandbox.item(handle)["display_name"] == "Theirs"
        # What both of them want is there already.
        assert await alice.save(handle, read, _changed(read, name="Theirs")) is Saved.ALREADY_SO
        read = await alice.read(handle)
        assert await alice.save(handle, read, _changed(read, name="Ours")) is Saved.UPDATED


_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown field": (lambda d: d["dataset_info"].update(colour="red"), "colour"),
    "no such date": (
        lambda d: d["dataset_info"].update(created_date={"relevant": True, "value": "2023-02-31"}),
        "created_date",
    ),
    "published before created": (
        lambda d: d["dataset_info"].update(
            created_date={"relevant": True, "value": "2023-02-03"},
            published_date={"relevant": True, "value": "2022-02-03"},
        ),
        "published",
    ),
    "bad EWKT": (
        lambda d: d["dataset_info"].update(spatial_info={"coverage": "POINT (1 2)"}),
        "EWKT|SRID",
    ),
    "missing name": (lambda d: d["dataset_info"].pop("name"), "name"),
    "missing part": (lambda d: d.pop("approvals"), "approvals"),
    "ethics that contradict": (
        lambda d: d["approvals"].update(ethics_access={"relevant": False, "obtained": True}),
        "(?i)ethics",
    ),
    "no such organisation": (
        lambda d: d["associations"].update(organisation_id="10378.1/1"),
        "10378.1/1",
    ),
}


@pytest.mark.parametrize("fault", _FAULTS)
async def test_what_the_service_refuses_is_told_in_its_words(
    editor: As, sandbox: RunningSandbox, handle: str, fault: str
) -> None:
    spoil, words = _FAULTS[fault]
    async with editor("alice") as alice:
        read = await alice.read(handle)
        changed = copy.deepcopy(read)
        spoil(changed)
        with pytest.raises(Invalid, match=words):
            await alice.save(handle, read, changed)
    assert len(sandbox.item(handle)["history"]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b'{\n  "a": 1,\n  "b": }', "line 3, column 8"),
        (b'{"a": 1,}', "line 1"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "cannot represent"),
        (b'{"a": "\\ud800"}', "cannot represent"),
        (b'{"a": ' + b"1" * 5000 + b"}", "cannot represent"),
        (b'{\n"a": "\xff"}', "line 2"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b" " * MAX_TEXT + b"{}", "10 MiB"),
    ],
)
def test_what_is_no_metadata_is_refused_in_words(text: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        parse(text)


async def test_10_megabytes_end_in_words(editor: As, sandbox: RunningSandbox, handle: str) -> None:
    async with editor("alice") as alice:
        read = await alice.read(handle)
        changed = _changed(read, description="x" * (MAX_TEXT - 10_000))
        with pytest.raises(ProvenaError) as refused:
            await alice.save(handle, read, changed)
    assert "400 KiB" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert len(sandbox.item(handle)["history"]) == 1


@pytest.mark.parametrize(
    ("user", "handle", "words"),
    [
        ("bob", PENGUINS, "no metadata write role"),
        ("alice", LOCKED, "locked"),
        ("bob", COMMON_POOL, "no metadata write role"),
        ("alice", COMMON_POOL, "no metadata write role"),
    ],
)
async def test_who_may_not(
    editor: As, sandbox: RunningSandbox, user: str, handle: str, words: str
) -> None:
    before = sandbox.item(handle)
    async with editor(user) as somebody:
        read = await somebody.read(handle)
        with pytest.raises(FSError, match=words) as refused:
            await somebody.save(handle, read, _changed(read, purpose="to try"))
    assert refused.value.errno == errno.EACCES
    assert sandbox.item(handle) == before


async def test_dave_may_nothing(editor: As, sandbox: RunningSandbox, handle: str) -> None:
    document = sandbox.item(handle)["collection_format"]
    async with editor("dave") as dave:
        with pytest.raises(Unauthorised) as refused:
            await dave.save(handle, document, _changed(document, name="Mine"))
    assert not isinstance(refused.value, LoginRequired)


async def test_released_metadata_can_be_edited(editor: As, sandbox: RunningSandbox) -> None:
    """As in Provena itself. The state before is restored."""
    async with editor("alice") as alice:
        read = await alice.read(RELEASED)
        changed = _changed(read, purpose="to be read")
        assert await alice.save(RELEASED, read, changed) is Saved.UPDATED
        assert await alice.save(RELEASED, changed, read) is Saved.REVERTED
