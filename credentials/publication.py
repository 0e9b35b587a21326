"""What a hosted did:web says: its keys and services, and the document made of them.

A `Publication` is a value; a change gives a new one or raises. Each key is listed twice, because
no one spelling is read by all (H4): `#key-N` as JsonWebKey2020, which signs, and its RFC 7638
thumbprint as JsonWebKey, which VC-JOSE-COSE asks for. Numbers are never used again, so what an old
signature names can never be another key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import orjson

from credentials import did_key
from credentials.errors import CredentialError
from credentials.keys import PublicJwk, thumbprint_of

CONTEXT: Final = [
    "https://www.w3.org/ns/did/v1",
    "https://w3id.org/security/suites/jws-2020/v1",
    "https://w3id.org/security/jwk/v1",
]
MAX_KEYS: Final = 20
MAX_SERVICES: Final = 20
MAX_DOCUMENT_BYTES: Final = 65_536


class UpdateRefused(CredentialError):
    """A change that does not fit what is published: `key_unknown`, `key_in_use`, `too_many_keys`,
    `service_unknown`, `service_exists`, `too_many_services`, `id_of_another_did` or
    `document_too_large`."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A public key and its number."""

    number: int
    jwk: PublicJwk

    @property
    def name(self) -> str:
        """The fragment under which it signs."""
        return f"#key-{self.number}"

    @property
    def alias(self) -> str:
        """The other fragment, its thumbprint."""
        return f"#{thumbprint_of(self.jwk)}"


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything a DID document is made of."""

    did: str
    keys: tuple[PublishedKey, ...] = ()
    services: tuple[Mapping[str, Any], ...] = ()
    """Ids are fragments, as `#files`."""
    signs: int = 0
    """The number of the key that signs."""
    last: int = 0
    """The highest number given so far."""

    @property
    def key_id(self) -> str:
        """The absolute id of the key that signs."""
        return f"{self.did}#key-{self.signs}"

    def with_key(self, jwk: PublicJwk, *, signs: bool) -> tuple[Self, str]:
        """One key more, which signs from now on or not; also answers its absolute id."""
        key = PublishedKey(self.last + 1, jwk)
        changed = replace(
            self,
            keys=(*self.keys, key),
            last=key.number,
            signs=key.number if signs else self.signs,
        )
        return changed, f"{self.did}{key.name}"

    def without_key(self, name: str) -> tuple[Self, str]:
        """One key less; also answers its absolute id. What it signed verifies no more (H6)."""
        key = self._key(name)
        if key.number == self.signs:
            raise UpdateRefused(
                "key_in_use",
                f"The key {key.name} signs for this DID; rotate, or let another key sign, first.",
            )
        left = tuple(other for other in self.keys if other is not key)
        return replace(self, keys=left), f"{self.did}{key.name}"

    def signing_with(self, name: str) -> Self:
        """The same keys, but this one signs from now on."""
        return replace(self, signs=self._key(name).number)

    def with_service(self, service: Mapping[str, Any]) -> Self:
        """One service more; its id is a fragment or absolute."""
        fragment = self._fragment(service["id"])
        taken = {str(other["id"]) for other in self.services}
        taken |= {spelling for key in self.keys for spelling in (key.name, key.alias)}
        if fragment in taken or fragment.startswith("#key-"):
            raise UpdateRefused("service_exists", f"The id {fragment} is taken in this DID.")
        return replace(self, services=(*self.services, {**service, "id": fragment}))

    def without_service(self, name: str) -> Self:
        """One service less."""
        fragment = self._fragment(name)
        left = tuple(other for other in self.services if other["id"] != fragment)
        if len(left) == len(self.services):
            raise UpdateRefused("service_unknown", f"This DID has no service {fragment[:200]}.")
        return replace(self, services=left)

    def document(self) -> dict[str, Any]:
        """The DID document, every id in it absolute. Raises UpdateRefused when it is too much."""
        if len(self.keys) > MAX_KEYS:
            raise UpdateRefused(
                "too_many_keys", f"A DID may have {MAX_KEYS} keys; remove old ones first."
            )
        if len(self.services) > MAX_SERVICES:
            raise UpdateRefused(
                "too_many_services", f"A DID may have {MAX_SERVICES} services; remove some first."
            )
        names = [f"{self.did}{name}" for key in self.keys for name in (key.name, key.alias)]
        document: dict[str, Any] = {
            "@context": CONTEXT,
            "id": self.did,
            "verificationMethod": [
                {"id": f"{self.did}{name}", "type": kind, "controller": self.did,
                 "publicKeyJwk": key.jwk}
                for key in self.keys
                for name, kind in ((key.name, "JsonWebKey2020"), (key.alias, "JsonWebKey"))
            ],
            **dict.fromkeys(did_key.SIGNING, names),
        }  # fmt: skip
        if self.services:
            document["service"] = [
                {**service, "id": f"{self.did}{service['id']}"} for service in self.services
            ]
        if len(orjson.dumps(document)) > MAX_DOCUMENT_BYTES:
            raise UpdateRefused(
                "document_too_large",
                f"The DID document would be longer than {MAX_DOCUMENT_BYTES} bytes.",
            )
        return document

    def encode(self) -> str:
        """What `decode` reads."""
        state = {
            "keys": [{"number": key.number, "jwk": key.jwk} for key in self.keys],
            "services": self.services,
            "signs": self.signs,
            "last": self.last,
        }
        return orjson.dumps(state).decode()

    @classmethod
    def decode(cls, did: str, text: str) -> Self:
        """The publication of `did` that `encode` wrote."""
        state = orjson.loads(text)
        keys = tuple(PublishedKey(key["number"], key["jwk"]) for key in state["keys"])
        return cls(did, keys, tuple(state["services"]), state["signs"], state["last"])

    def _key(self, name: str) -> PublishedKey:
        fragment = self._fragment(name)
        for key in self.keys:
            if fragment in (key.name, key.alias):
                return key
        raise UpdateRefused("key_unknown", f"This DID has no key {fragment[:200]}.")

    def _fragment(self, name: str) -> str:
        fragment = name.removeprefix(self.did)
        if not fragment.startswith("#"):
            raise UpdateRefused("id_of_another_did", f"{name[:200]} is an id of another DID.")
        return fragment
