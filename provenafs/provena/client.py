"""All services of one Provena instance, on behalf of one user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from provenafs.config import Settings
from provenafs.provena.auth import TokenSource, token_source
from provenafs.provena.authapi import AuthApi
from provenafs.provena.broker import CredentialBroker
from provenafs.provena.datastore import DataStore
from provenafs.provena.jobs import Jobs
from provenafs.provena.reading import text_or_none
from provenafs.provena.realm import Realm
from provenafs.provena.registry import Registry
from provenafs.provena.search import Search
from provenafs.provena.service import ServiceClient
from provenafs.provena.tokens import claims
from provenafs.provena.transport import Transport

WRITE_ROLE = "entity-registry-write"
"""The realm role of everybody who changes data, metadata or versions, beside the item's role."""


@dataclass(frozen=True, slots=True)
class Provena:
    """The services. `auth_api` and `jobs` are None where their addresses are not known."""

    realm: Realm
    datastore: DataStore
    registry: Registry
    search: Search
    auth_api: AuthApi | None
    jobs: Jobs | None
    broker: CredentialBroker
    _tokens: TokenSource

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: Settings) -> AsyncIterator[Provena]:
        """The services that the settings name. Sends nothing by itself; raises ConfigError."""
        services = settings.services
        async with Transport.open(settings.api_timeout) as transport:
            realm = Realm(services.realm, transport)
            tokens = token_source(settings, realm)
            registry = Registry("the registry", services.registry, transport, tokens)
            datastore = DataStore("the data store", services.datastore, transport, tokens, registry)
            yield cls(
                realm=realm,
                datastore=datastore,
                registry=registry,
                search=Search("the search service", services.search, transport, tokens),
                auth_api=AuthApi("the auth API", services.auth_api, transport, tokens)
                if services.auth_api
                else None,
                jobs=Jobs("the job API", services.job_api, transport, tokens)
                if services.job_api
                else None,
                broker=CredentialBroker(datastore),
                _tokens=tokens,
            )

    @property
    def services(self) -> tuple[ServiceClient, ...]:
        """Every service whose address is known."""
        known = (self.datastore, self.registry, self.search, self.auth_api, self.jobs)
        return tuple(service for service in known if service is not None)

    async def username(self) -> str:
        """The user name in the token; raises LoginRequired, Unavailable."""
        name = claims(await self._tokens.token()).get("preferred_username")
        return text_or_none(name) or "unknown"

    async def may_change(self) -> bool:
        """Whether the token has the realm role without which the services change nothing.

        Also true of a token without roles: then the services decide.
        """
        access = claims(await self._tokens.token()).get("realm_access")
        roles = access.get("roles") if isinstance(access, dict) else None
        return not isinstance(roles, list) or WRITE_ROLE in roles
