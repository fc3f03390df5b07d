"""Signs and verifies the realm's tokens."""

from __future__ import annotations

import base64
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from provenafs.sandbox.store import Kind, Store

_ALGORITHM = "RS256"
_KEY_BITS = 2048


class InvalidToken(Exception):
    """The token is not ours, was changed, or has expired."""


class Tokens:
    """One RSA key, kept in the store, and what is signed with it."""

    def __init__(self, store: Store) -> None:
        self._key = _stored_key(store)
        self._public = self._key.public_key()
        self.key_id = str(uuid.uuid5(uuid.NAMESPACE_OID, self.public_key))

    @property
    def public_key(self) -> str:
        """The public key as a realm shows it: base64 of the DER, without armour."""
        der = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def key_set(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._public, as_dict=True)
        return {"keys": [{**key, "kid": self.key_id, "use": "sig", "alg": _ALGORITHM}]}

    def sign(self, claims: dict[str, Any], lifetime_s: int | None) -> str:
        """A token of these claims; without a lifetime it does not expire by itself."""
        now = int(time.time())
        standard: dict[str, Any] = {"iat": now, "jti": str(uuid.uuid4())}
        if lifetime_s is not None:
            standard["exp"] = now + lifetime_s
        return jwt.encode(
            {**standard, **claims}, self._key, _ALGORITHM, headers={"kid": self.key_id}
        )

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that we signed and that has not expired; else InvalidToken.

        As in the real services neither audience nor issuer is looked at, and `exp` may be absent.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                options={"verify_aud": False, "verify_iat": False, "verify_sub": False},
            )
        except jwt.PyJWTError as error:
            raise InvalidToken from error
        return claims


def _stored_key(store: Store) -> rsa.RSAPrivateKey:
    row = store.get(Kind.SETTING, "rsa-key")
    if row is not None:
        key = load_pem_private_key(row["pem"].encode(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    store.put(Kind.SETTING, "rsa-key", {"pem": pem.decode()})
    return key
