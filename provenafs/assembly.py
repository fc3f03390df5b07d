"""Assembles the rooms of one user's drive, for a mount and for subcommands without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from provenafs import private
from provenafs.catalog.catalog import Catalog
from provenafs.catalog.minting import Minting
from provenafs.catalog.rejected import Rejected
from provenafs.catalog.saving import Saving
from provenafs.catalog.sharing import Links
from provenafs.catalog.versioning import Versioning
from provenafs.config import ConfigError, Settings
from provenafs.content.content import ContentOptions, open_content
from provenafs.content.listing.index import Invalidation
from provenafs.content.store import StoreOptions, open_store
from provenafs.provena.client import Provena
from provenafs.provena.handles import handle_of, has_name
from provenafs.s3.calls import S3Context
from provenafs.tree.context import Context
from provenafs.tree.edits import Edits
from provenafs.tree.memory import DocumentMemory


@dataclass(frozen=True, slots=True)
class Listeners:
    """Callbacks for events outside any request.

    `changed`: entries that vanished or were replaced. `failed`: a file, by inode, that could not
    be stored after its close was answered. `status`: asked for the mount's account of itself.
    """

    changed: Callable[[Sequence[Invalidation]], None]
    failed: Callable[[int, Exception], None]
    status: Callable[[], dict[str, object]]


@asynccontextmanager
async def open_context(
    settings: Settings, provena: Provena, listeners: Listeners
) -> AsyncIterator[Context]:
    """Everything below the tree, over `provena`; what is not stored at the end stays journalled.

    Raises ConfigError for a dataset to show that is called by no handle, Untrusted for a folder
    of the settings that others can change.
    """
    handles = [_handle(name) for name in settings.datasets]
    _check_folders(settings)
    async with (
        open_content(
            settings.cache_dir / settings.profile,
            S3Context(settings.s3_endpoint_url, settings.io_timeout, settings.connections),
            _content_options(settings),
            listeners.changed,
        ) as content,
        open_store(content, _store_options(settings), listeners.failed) as store,
    ):
        catalog = Catalog(provena, content.index.database, ttl=settings.ttl, only=handles)
        saving = Saving(catalog, provena.datastore)
        rejected = Rejected(settings.state_dir / "rejected" / settings.profile)
        memory = DocumentMemory()
        edits = Edits(catalog, content, saving, rejected, memory, settings.reason)
        versioning = Versioning(catalog, provena.datastore)
        minting = Minting(catalog, provena, settings.state_dir / "mints" / settings.profile)
        links = Links(provena.datastore)
        yield Context(
            catalog,
            content,
            store,
            edits,
            versioning,
            minting,
            links,
            memory,
            listeners.status,
        )


def _content_options(settings: Settings) -> ContentOptions:
    return ContentOptions(
        settings.ttl,
        settings.memory,
        settings.cache_size,
        asks_objects=settings.mtime == "object",
        fetch_whole=settings.fetch_whole,
    )


def _store_options(settings: Settings) -> StoreOptions:
    return StoreOptions(
        settings.state_dir, settings.staging_size, settings.writeback, settings.rename_limit
    )


def _handle(name: str) -> str:
    """The handle that a user named: as it is, or by its directory."""
    handle = handle_of(name) or name
    if not has_name(handle):
        raise ConfigError("--dataset: an empty or very long text is not a handle")
    return handle


def _check_folders(settings: Settings) -> None:
    private.top_folder(settings.state_dir)
    try:
        private.top_folder(settings.cache_dir)
    except private.Untrusted:
        raise
    except OSError:
        pass  # a disk that refuses is no reason not to mount: nothing is cached on it
