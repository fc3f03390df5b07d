"""Minting: each request is sent once; if the response is lost, the dataset is searched for.

A request is kept in the state folder until its outcome is known, so that the same text is not
minted twice: neither after a lost answer nor after a crash.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import trio

from provenafs import private
from provenafs.catalog.catalog import Catalog
from provenafs.catalog.description import Description
from provenafs.catalog.lost_answers import pauses_before_looks
from provenafs.catalog.saving import fingerprint, parse, validate
from provenafs.errors import FSError
from provenafs.guard import in_thread
from provenafs.provena.client import Provena
from provenafs.provena.errors import Invalid, ProvenaError, Unauthorised, Unavailable

_CLOCKS_DIFFER_S = 300
_NO_ORGANISATION = "the handle of an organisation"
_USUAL_LICENSE = "https://creativecommons.org/licenses/by/4.0/"
_T = TypeVar("_T")


class Minting:
    """Mints datasets, one at a time."""

    def __init__(self, catalog: Catalog, provena: Provena, intents: Path) -> None:
        """`intents` is the folder of what was begun and whose outcome is not known."""
        self._catalog = catalog
        self._provena = provena
        self._intents = intents
        self._lock = trio.Lock()
        self._schema: dict[str, Any] | None = None

    async def mint(self, text: bytes) -> str:
        """Register a dataset with the metadata in `text`; returns its handle.

        If an earlier attempt with the same metadata has not ended, what it made is looked for
        first. Raises Invalid for a text that cannot be used, FSError(EBUSY) while another process
        mints the same, and any ProvenaError.
        """
        document = parse(text)
        wanted = fingerprint(document)
        async with self._lock:
            await validate(self._provena.datastore, document)
            intent = await _in_thread(lambda: _Intent(self._intents / f"{wanted}.json"))
            try:
                handle = await self._mint(document, wanted, intent)
            finally:
                intent.close()
            self._catalog.appeared(handle)
            return handle

    async def _mint(self, document: dict[str, Any], wanted: str, intent: _Intent) -> str:
        handle = None
        if intent.begun_at is not None:
            handle = await self._made(wanted, intent.begun_at)
        if handle is None:
            await _in_thread(intent.begin)
            handle = await self._send(document, wanted, intent)
        await _in_thread(intent.settle)
        return handle

    async def _send(self, document: dict[str, Any], wanted: str, intent: _Intent) -> str:
        try:
            return (await self._provena.datastore.mint(document)).handle
        except (Invalid, Unauthorised):
            await _in_thread(intent.settle)
            raise
        except Unavailable as error:
            handle = await self._after_no_answer(wanted, intent, error)
            if handle is not None:
                return handle
            await _in_thread(intent.settle)
            raise Unavailable(f"{error}: no dataset was minted", error.status) from None

    async def _after_no_answer(
        self, wanted: str, intent: _Intent, error: Unavailable
    ) -> str | None:
        """The dataset may have been minted all the same, or be in the making."""
        assert intent.begun_at is not None
        try:
            for pause in pauses_before_looks(error):
                await trio.sleep(pause)
                handle = await self._made(wanted, intent.begun_at)
                if handle is not None:
                    return handle
        except ProvenaError:
            raise Unavailable(
                f"{error}, and whether the dataset was minted is not known: save the same text once"
                " more, and what was minted is looked for first",
                error.status,
            ) from None
        return None

    async def _made(self, wanted: str, since: float) -> str | None:
        """The newest own dataset with this metadata, if it was made since then."""
        username = await self._provena.username()
        made = [
            (record.created_timestamp, record.id)
            async for record in self._provena.datastore.list_all()
            if record.owner_username == username
            and record.created_timestamp >= since - _CLOCKS_DIFFER_S
            and fingerprint(record.collection_format) == wanted
        ]
        return max(made)[1] if made else None

    async def template(self) -> dict[str, Any]:
        """Metadata to begin with; organisation and license as in the newest dataset there is."""
        newest: Description | None = None
        for summary in reversed(await self._catalog.datasets()):
            newest = Description(await self._catalog.record(summary.handle))
            break
        organisation = (newest and newest.organisation) or _NO_ORGANISATION
        return {
            "associations": {"organisation_id": organisation},
            "approvals": {
                subject: {"relevant": False, "obtained": False}
                for subject in (
                    "ethics_registration",
                    "ethics_access",
                    "indigenous_knowledge",
                    "export_controls",
                )
            },
            "dataset_info": {
                "name": "The name of the dataset",
                "description": "What it is, how it was made, what it is good for",
                "access_info": {"reposited": True},
                "publisher_id": (newest and newest.publisher) or organisation,
                "created_date": {"relevant": True, "value": time.strftime("%Y-%m-%d")},
                "published_date": {"relevant": False},
                "license": (newest and newest.text("license")) or _USUAL_LICENSE,
                "keywords": ["a word to find it by"],
                "formats": ["csv"],
            },
        }

    async def schema(self) -> dict[str, Any]:
        """The JSON schema of the metadata, as the service had it when first asked."""
        if self._schema is None:
            self._schema = await self._provena.datastore.schema()
        return self._schema


class _Intent:
    """A file that is there from before the request until its outcome is known."""

    def __init__(self, path: Path) -> None:
        private.folder(path.parent)
        self._path = path
        try:
            self._file = private.open_locked(path)
        except BlockingIOError:
            message = "another process on this machine is minting the same metadata"
            raise FSError(errno.EBUSY, message) from None
        words = os.pread(self._file, 64, 0)
        self.begun_at: float | None = _time(words) if words else None

    def begin(self) -> None:
        """Note that the request is about to be sent."""
        self.begun_at = time.time()
        os.pwrite(self._file, f"{self.begun_at:.3f}".encode(), 0)
        os.fsync(self._file)

    def settle(self) -> None:
        """The outcome is known."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others try."""
        if self.begun_at is None:
            self.settle()
        os.close(self._file)


def _time(words: bytes) -> float:
    """When an intent was begun; for one that a crash has cut, any time."""
    try:
        return float(words)
    except ValueError:
        return 0.0


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Do file work; FSError where the disk refuses: nothing is sent that is not noted."""
    try:
        return await in_thread(work)
    except OSError as error:
        message = f"the request cannot be recorded on this machine: {error.strerror}"
        raise FSError(error.errno or errno.EIO, message) from error
