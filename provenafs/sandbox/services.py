"""Assembles the sandbox's services for its routes."""

from __future__ import annotations

from dataclasses import dataclass

from provenafs.sandbox.access import AccessControl
from provenafs.sandbox.datastore import DataStore
from provenafs.sandbox.jobs import Jobs
from provenafs.sandbox.keys import Keys
from provenafs.sandbox.listing import Lists
from provenafs.sandbox.registry import Registry
from provenafs.sandbox.review import Reviews
from provenafs.sandbox.storage import ObjectStorage
from provenafs.sandbox.store import Store
from provenafs.sandbox.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what the sandbox issues is good for, in seconds."""

    access_token_s: int = 300
    refresh_token_s: int = 1800
    offline_token_s: int = 30 * 24 * 3600
    device_code_s: int = 600
    credentials_s: int = 28800


@dataclass(frozen=True, slots=True)
class Services:
    """All services; their state is in the store and the bucket."""

    store: Store
    tokens: Tokens
    access: AccessControl
    jobs: Jobs
    registry: Registry
    lists: Lists
    datastore: DataStore
    keys: Keys
    reviews: Reviews
    lifetimes: Lifetimes

    @classmethod
    def of(cls, store: Store, storage: ObjectStorage, lifetimes: Lifetimes) -> Services:
        """The services over one store and one bucket."""
        access, jobs = AccessControl(store), Jobs(store)
        registry, lists = Registry(store, access, jobs), Lists(store, access)
        datastore = DataStore(registry, lists, storage)
        return cls(
            store=store,
            tokens=Tokens(store),
            access=access,
            jobs=jobs,
            registry=registry,
            lists=lists,
            datastore=datastore,
            keys=Keys(datastore, storage, lifetimes.credentials_s),
            reviews=Reviews(store, datastore),
            lifetimes=lifetimes,
        )
