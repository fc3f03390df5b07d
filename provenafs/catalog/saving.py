"""Saving a dataset's metadata: from the text a user wrote to a new state of the record."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import weakref
from enum import Enum, auto
from typing import Any, NoReturn

import trio
from ProvenaInterfaces.RegistryModels import CollectionFormat
from pydantic import ValidationError

from provenafs.catalog.catalog import Catalog
from provenafs.catalog.dataset import Dataset
from provenafs.catalog.documents import without_nulls
from provenafs.errors import FSError
from provenafs.provena.datastore import DataStore
from provenafs.provena.errors import Invalid, ProvenaError, Unavailable
from provenafs.provena.reading import is_too_deep
from provenafs.provena.records import DatasetRecord

log = logging.getLogger(__name__)

MAX_TEXT = 10 * 1024 * 1024  # bytes
_COMPLAINTS_TOLD = 5
_DEEPEST = 50  # levels; the metadata model has six
_TOO_DEEP = "the metadata is nested too deeply"
# The limit of the registry's database for a record with its whole history.
_RECORD_LIMIT = 400 * 1024


class Saved(Enum):
    """Outcome of a save."""

    UNCHANGED = auto()  # the text equals what was read
    ALREADY_SO = auto()  # another client had made the same change
    UPDATED = auto()
    REVERTED = auto()


class Saving:
    """Saves metadata, one save of a dataset at a time."""

    def __init__(self, catalog: Catalog, datastore: DataStore) -> None:
        self._catalog = catalog
        self._datastore = datastore
        self._locks: weakref.WeakValueDictionary[str, trio.Lock] = weakref.WeakValueDictionary()

    async def save(self, handle: str, text: bytes, read: str, reason: str) -> Saved:
        """Make `text` the metadata of a dataset; `read` is the fingerprint of what was read.

        No request is sent if the text equals what was read; the state of a history
        entry is reverted to. The service has no precondition: the record is fetched and compared
        right before it is changed. Raises Invalid for a text that cannot be used,
        FSError(EACCES) for role or lock, FSError(ESTALE) if another client changed the record since
        it was read, and any ProvenaError.
        """
        document = parse(text)
        wanted = fingerprint(document)
        if wanted == read:
            return Saved.UNCHANGED
        lock = self._locks.setdefault(handle, trio.Lock())
        async with lock:
            await validate(self._datastore, document)
            dataset = await self._fetch_unchanged(handle, read, wanted)
            if fingerprint(dataset.record.collection_format) == wanted:
                return Saved.ALREADY_SO
            try:
                return await self._send(dataset.record, document, wanted, reason)
            except Unavailable as error:
                return await self._after_no_answer(dataset.record, document, wanted, error)
            finally:
                await self._refresh(handle)

    async def _fetch_unchanged(self, handle: str, read: str, wanted: str) -> Dataset:
        dataset = await self._catalog.dataset(handle, max_age=0)
        refusal = dataset.metadata_refusal()
        if refusal is not None:
            raise refusal
        if fingerprint(dataset.record.collection_format) not in (read, wanted):
            raise FSError(
                errno.ESTALE,
                f"the metadata of {handle} was changed by another client since it was read: nothing"
                " was overwritten, read it again and make the change in what it says now",
            )
        return dataset

    async def _send(
        self, record: DatasetRecord, document: dict[str, Any], wanted: str, reason: str
    ) -> Saved:
        for entry in record.history:
            if fingerprint(entry.collection_format) == wanted:
                await self._datastore.revert_metadata(record.id, entry.id, reason)
                return Saved.REVERTED
        await self._datastore.update_metadata(record.id, document, reason)
        return Saved.UPDATED

    async def _after_no_answer(
        self, record: DatasetRecord, document: dict[str, Any], wanted: str, error: Unavailable
    ) -> Saved:
        """The change may have been made nevertheless: check the record."""
        dataset = await self._catalog.dataset(record.id, max_age=0)
        if fingerprint(dataset.record.collection_format) == wanted:
            return Saved.UPDATED
        size = len(json.dumps(record.raw)) + 2 * len(json.dumps(document))
        if error.status == 500 and size > _RECORD_LIMIT:
            raise Unavailable(
                f"{error}: a record with its whole history can hold 400 KiB, and this would be"
                f" {size // 1024} KiB",
                error.status,
            ) from None
        raise error

    async def _refresh(self, handle: str) -> None:
        """Let the catalog show the new state at once."""
        try:
            await self._catalog.dataset(handle, max_age=0)
        except ProvenaError as error:
            log.warning("%s is shown as it was before the save for a while: %s", handle, error)


def fingerprint(collection_format: dict[str, Any]) -> str:
    """Equal for metadata that are equal as JSON without nulls, whatever a service stores."""
    text = json.dumps(without_nulls(collection_format), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: bytes) -> dict[str, Any]:
    """The metadata in a text; raises Invalid with words on where it is wrong."""
    if len(text) > MAX_TEXT:
        raise Invalid(f"metadata of more than {MAX_TEXT // 1024**2} MiB is not accepted")
    try:
        document = json.loads(
            text.decode("utf-8-sig"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
        if not isinstance(document, dict):
            raise Invalid("the metadata must be a JSON object, in braces")
        if is_too_deep(document, _DEEPEST):
            raise Invalid(_TOO_DEEP)
        # An infinite number, half a surrogate pair: ValueError.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise Invalid(f"the metadata is not UTF-8: line {line}") from None
    except json.JSONDecodeError as error:
        raise Invalid(_where(error)) from None
    except RecursionError:
        raise Invalid(_TOO_DEEP) from None
    except ValueError as error:
        raise Invalid(
            f"the metadata contains a value that JSON cannot represent: {error}"
        ) from None
    return document


async def validate(datastore: DataStore, document: dict[str, Any]) -> None:
    """Raises Invalid with the service's words, and those of the model, if it is not taken."""
    try:
        await datastore.validate(document)
    except Invalid as error:
        words = str(error)
        more = [line for line in _complaints(document) if line.partition(":")[0] not in words]
        if has_legacy_version(document):
            words = f"the member 'version' of dataset_info has to go first, none is taken; {words}"
        raise Invalid("; ".join([f"the metadata was refused: {words}", *more])) from None


def has_legacy_version(document: dict[str, Any]) -> bool:
    """Whether metadata hold dataset_info.version, which old records have and no service takes."""
    information = document.get("dataset_info")
    return isinstance(information, dict) and information.get("version") is not None


def _where(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return "the metadata is empty: nothing was saved"
    return f"the metadata is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise Invalid(f"the metadata has '{name}' twice in one object")
        members[name] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise Invalid(f"the metadata contains {name}, which is not JSON")


def _complaints(document: dict[str, Any]) -> list[str]:
    """The complaints of the metadata model, with their locations."""
    try:
        CollectionFormat.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in faults[:_COMPLAINTS_TOLD]
        ]
    return []
