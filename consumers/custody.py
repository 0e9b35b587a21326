"""Keys of issuers in custody: made here, sealed, and lent only to the organization they are of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from joserfc.jwk import OKPKey

from consumers.processor import Resources
from credentials import did_key
from credentials.errors import CredentialError
from credentials.keyring import Keyring, KeyringSettings, open_keyring
from streams import Redis, vault


class KeyRefused(CredentialError):
    """This organization cannot sign with that DID: `issuer_unknown` or `issuer_not_owned`."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its absolute id."""

    id: str
    private: OKPKey


@dataclass(frozen=True, slots=True)
class Custody:
    """The vault in Redis together with the ring that opens it."""

    redis: Redis
    keyring: Keyring

    async def create_did_key(self, origin: tuple[str, ...], organization_id: str) -> str:
        """Make an Ed25519 key for `organization_id`, keep it, and answer its did:key.

        The same origin always gets the same DID.
        """
        private = OKPKey.generate_key("Ed25519")
        public = {name: str(private.as_dict(private=False)[name]) for name in ("kty", "crv", "x")}
        did = did_key.encode(public)
        kid = did_key.verification_method(did)
        sealed = vault.SealedKey(did, organization_id, kid, self.keyring.seal(private, kid))
        return await vault.create(self.redis, origin, sealed)

    async def signing_key(self, did: str, organization_id: str) -> SigningKey:
        """The key with which `organization_id` signs as `did`.

        Raises KeyRefused, with the same text whether the DID is unknown or another tenant's, or
        SealError.
        """
        sealed = await vault.find(self.redis, did)
        if sealed is None:
            raise _refused("issuer_unknown")
        if sealed.organization_id != organization_id:
            raise _refused("issuer_not_owned")
        # The name comes from the DID, not from the record, which whoever writes to Redis controls.
        key_id = did_key.verification_method(did)
        return SigningKey(key_id, self.keyring.unseal(sealed.jwe, key_id))


@asynccontextmanager
async def open_custody(resources: Resources) -> AsyncIterator[Custody]:
    """Custody for a processor. Raises KeyringError when this process has no ring."""
    keyring = open_keyring(KeyringSettings(), resources.data_dir, production=resources.production)
    yield Custody(resources.redis, keyring)


def _refused(code: str) -> KeyRefused:
    return KeyRefused(code, "No key of this issuer is held for this organization.")
