"""Keys of issuers in custody: made here, sealed, and lent only to the organization they are of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from consumers.processor import Resources
from consumers.rotation import ring_for
from credentials import did_key, keys
from credentials.errors import CredentialError
from credentials.keyring import Keyring, SealError
from credentials.keys import DEFAULT_KEY_TYPE, KeyType, PrivateKey
from credentials.settings import CredentialSettings
from streams import Redis, vault


class KeyRefused(CredentialError):
    """This organization cannot sign with that DID: `issuer_unknown`, `issuer_deactivated` or
    `key_unknown`."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, its absolute id, and the `alg` of what it signs."""

    id: str
    private: PrivateKey
    algorithm: str


@dataclass(frozen=True, slots=True)
class Custody:
    """The vault in Redis together with the ring that opens it."""

    redis: Redis
    keyring: Keyring
    settings: CredentialSettings = field(default_factory=CredentialSettings)

    async def create_did_key(
        self,
        origin: tuple[str, ...],
        organization_id: str,
        kind: KeyType = DEFAULT_KEY_TYPE,
    ) -> str:
        """Make a key for `organization_id`, keep it, and answer its did:key.

        The same origin always gets the same DID.
        """
        private = keys.generate(kind)
        did = did_key.encode(keys.public_jwk(private))
        kid = did_key.verification_method(did)
        sealed = vault.SealedKey(did, organization_id, kid, self.keyring.seal(private, kid))
        return await vault.create(self.redis, origin, sealed)

    async def signing_key(
        self, did: str, organization_id: str, key_id: str | None = None
    ) -> SigningKey:
        """The key with which `organization_id` signs as `did`; `key_id` asks for another one than
        the DID's current key, by its absolute id.

        Raises KeyRefused, the same whether the DID is unknown or another tenant's, or SealError.
        """
        sealed = await vault.find(self.redis, did, key_id)
        if isinstance(sealed, vault.Emptied) and sealed.organization_id == organization_id:
            raise KeyRefused("issuer_deactivated", "The DID of this issuer was deactivated.")
        if sealed is None or sealed.organization_id != organization_id:
            # One answer for both: whether another tenant's DID is held here is not for everybody.
            raise KeyRefused(
                "issuer_unknown", "No key of this issuer is held for this organization."
            )
        if isinstance(sealed, vault.NoSuchKey | vault.Emptied):
            raise KeyRefused("key_unknown", "This issuer has no such key here.")
        # The name comes from the DID where it can, not from the record, which whoever writes to
        # Redis controls. A key of a did:web must at least be one of that DID.
        name = did_key.verification_method(did) if did.startswith("did:key:") else sealed.kid
        if not name.startswith(f"{did}#"):
            raise SealError("key_unreadable", "The key stored for this DID belongs to another one.")
        private = self.keyring.unseal(sealed.jwe, name)
        public = keys.public_jwk(private)
        return SigningKey(name, private, keys.algorithm_of(public, self.settings.ed25519_algorithm))


@asynccontextmanager
async def open_custody(resources: Resources) -> AsyncIterator[Custody]:
    """Custody for a processor. Raises KeyringError when this process has no ring, or not all of
    it."""
    yield Custody(resources.redis, ring_for(resources, "issuer"))
