"""The users of the sandbox. Passwords equal user names: it is for experiments only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from provenafs.sandbox.kinds import READ, WRITE, RealmRole


@dataclass(frozen=True, slots=True)
class User:
    """The user of a request, according to the token; the token stays out of the repr."""

    username: str
    email: str | None
    roles: frozenset[str]
    access_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in."""

    username: str
    given_name: str
    family_name: str
    realm_roles: tuple[RealmRole, ...]
    linked: bool = False
    """Whether a Person in the registry stands for them, which minting asks for."""

    @property
    def email(self) -> str:
        return f"{self.username}@example.org"

    def accepts(self, password: str) -> bool:
        return password == self.username

    def as_user(self) -> User:
        """The account as the maker of a request, for what the sandbox does by itself."""
        return User(self.username, self.email, frozenset(self.realm_roles))

    def claims(self) -> dict[str, Any]:
        """The claims of an access token with every scope."""
        return {
            "sub": f"sandbox-{self.username}",
            "preferred_username": self.username,
            "email": self.email,
            "email_verified": True,
            "given_name": self.given_name,
            "family_name": self.family_name,
            "name": f"{self.given_name} {self.family_name}",
            "realm_access": {"roles": sorted(self.realm_roles)},
        }


ACCOUNTS: dict[str, Account] = {
    account.username: account
    for account in (
        Account("alice", "Alice", "Owner", WRITE, linked=True),
        Account("bob", "Bob", "Reader", READ),
        Account("carol", "Carol", "Reviewer", WRITE, linked=True),
        # May log in and nothing more: every service refuses for want of a realm role.
        Account("dave", "Dave", "Stranger", ()),
        Account("admin", "Ada", "Admin", tuple(RealmRole), linked=True),
    )
}
