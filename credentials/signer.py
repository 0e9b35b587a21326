"""Signing a credential as a JWT (VC-JOSE-COSE), with joserfc."""

import json
from typing import Any

from joserfc import jws
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from credentials.errors import CredentialError

MAX_TOKEN_CHARS = 256 * 1024
"""Longest token issued, and the longest a vc-verification job takes."""


class _EdDsaOnly(JWSRegistry):
    """EdDSA and nothing else, without joserfc's warning about it.

    RFC 9864 deprecates the name, and joserfc warns at every use; but the verifiers in the field
    know no other, so it is what a credential must carry.
    """

    max_payload_length = MAX_TOKEN_CHARS

    def get_alg(self, name: str) -> Any:
        if name != "EdDSA":
            raise UnsupportedAlgorithmError(f"Algorithm of '{name}' is not allowed")
        return self.algorithms[name]


_REGISTRY = _EdDsaOnly(algorithms=["EdDSA"])


def sign(credential: dict[str, Any], key: OKPKey, key_id: str) -> str:
    """`credential` as a compact JWS of type vc+jwt; `key_id` is the key's absolute DID URL.

    Ed25519 has no randomness: the same credential and key give the same bytes. Raises
    CredentialError `credential_too_large` above 256 KiB.
    """
    header = {"alg": "EdDSA", "typ": "vc+jwt", "cty": "vc", "kid": key_id}
    payload = json.dumps(credential, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    token = jws.serialize_compact(header, payload.encode(), key, registry=_REGISTRY)
    if len(token) > MAX_TOKEN_CHARS:
        raise CredentialError(
            "credential_too_large",
            f"The credential has {len(token)} characters; at most {MAX_TOKEN_CHARS} are allowed.",
        )
    return token
