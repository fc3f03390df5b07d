"""Initial records of a sandbox: an organisation, people, links, a group, a reviewer."""

from __future__ import annotations

from ProvenaInterfaces.RegistryModels import ItemSubType
from pydantic.v1 import EmailStr

from provenafs.sandbox.records import OrganisationDomainInfo, PersonDomainInfo
from provenafs.sandbox.services import Services
from provenafs.sandbox.store import Kind
from provenafs.sandbox.users import ACCOUNTS, Account

ORGANISATION_NAME = "Provena Sandbox"
GROUP_ID = "field-team"
REVIEWER = "carol"


def provision(services: Services) -> None:
    """Fill a new store; one that was filled before is left as it is."""
    store = services.store
    if store.get(Kind.SETTING, "provisioned") is not None:
        return
    for account in ACCOUNTS.values():
        if account.linked:
            store.put(Kind.LINK, account.username, {"person_id": _person(services, account)})
    organisation = services.registry.create(
        ACCOUNTS["admin"].as_user(),
        ItemSubType.ORGANISATION,
        OrganisationDomainInfo(display_name=ORGANISATION_NAME, name=ORGANISATION_NAME),
    )
    reviewer = services.access.person_of(REVIEWER)
    assert reviewer is not None
    services.reviews.add_reviewer(reviewer)
    store.put(Kind.GROUP, GROUP_ID, _group())
    store.put(Kind.SETTING, "provisioned", {"organisation_id": organisation["id"]})


def organisation_id(services: Services) -> str:
    """The handle of the organisation that a provisioned store began with."""
    setting = services.store.get(Kind.SETTING, "provisioned")
    assert setting is not None
    return str(setting["organisation_id"])


def _person(services: Services, account: Account) -> str:
    domain = PersonDomainInfo(
        display_name=f"{account.given_name} {account.family_name}",
        email=EmailStr(account.email),
        first_name=account.given_name,
        last_name=account.family_name,
        ethics_approved=True,
    )
    person = services.registry.create(account.as_user(), ItemSubType.PERSON, domain)
    return str(person["id"])


def _group() -> dict[str, object]:
    return {
        "id": GROUP_ID,
        "display_name": "Field team",
        "description": "Those who go out and measure.",
        "default_data_store_access": None,
        "members": ["bob", "carol"],
    }
