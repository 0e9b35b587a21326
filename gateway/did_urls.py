"""What a resolver is asked for beyond a DID: the key or service that a DID URL names, and a format
for the keys of a did:key.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from credentials import did_key, document
from credentials.errors import DidError

DID_PARAMETERS: Final = frozenset({"service", "relativeRef", "versionId", "versionTime", "hl"})
EXPERIMENTAL: Final = frozenset(
    {
        *("Ed25519VerificationKey2018", "X25519KeyAgreementKey2019", "JsonWebKey"),
        *("EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019"),
        *("P256Key2021", "P384Key2021", "P521Key2021", "Bls12381G1Key2020", "Bls12381G2Key2020"),
    }
)
"""Types of keys that did:key knows and nobody has to write; here they are never written."""
_FRAGMENT = re.compile(r"#(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})+")


def split(target: str) -> tuple[str, str]:
    """A DID, and what follows it in a DID URL."""
    did = re.split(r"[/?#]", target, maxsplit=1)[0]
    return did, target[len(did) :]


def check(rest: str, query: Mapping[str, str]) -> None:
    """Only fragments lead somewhere here. Raises DidError `invalidDidUrl`."""
    if not DID_PARAMETERS.isdisjoint(query):
        raise DidError("invalidDidUrl", "Parameters of DIDs are not supported.")
    if rest and _FRAGMENT.fullmatch(rest) is None:
        raise DidError("invalidDidUrl", "Of DID URLs only those are read that end in #<fragment>.")


def part(did_document: Mapping[str, Any], did: str, rest: str) -> dict[str, Any]:
    """The key or service of the document that the fragment names. Raises DidError `notFound`."""
    found = document.part(did_document, did, rest)
    if found is None:
        raise DidError("notFound", "The DID document has nothing of this name.")
    return found


def written(did_document: dict[str, Any], did: str, options: Mapping[str, str]) -> dict[str, Any]:
    """The document with its keys in the format that was asked for (`publicKeyFormat`, did:key).

    Raises DidError: `unsupportedPublicKeyType`, `invalidPublicKeyType`.
    """
    wanted = options.get("publicKeyFormat")
    if wanted is None or not did.startswith("did:key:"):
        return did_document
    for known in get_args(did_key.KeyFormat):
        if wanted == known:
            return did_key.document(did, known)
    if wanted in EXPERIMENTAL:
        raise DidError("invalidPublicKeyType", "Keys are not written in experimental types.")
    raise DidError("unsupportedPublicKeyType", "No keys are written in this type.")
