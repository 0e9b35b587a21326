"""Signing as a compact JWS (VC-JOSE-COSE), with joserfc and every type of key there is here."""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwa import ESAlgorithm, JWSAlgModel
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from credentials.errors import CredentialError
from credentials.keys import PrivateKey, algorithm_of, algorithms_of

MAX_TOKEN_CHARS = 256 * 1024
"""Longest token issued, and the longest a vc-verification job takes."""


class _Repeatable(ESAlgorithm):
    """ECDSA without chance (RFC 6979): a job that runs again gives the same bytes (A7), and no
    weak random number can give a key away. Verifiers cannot tell the difference."""

    def sign(self, msg: bytes, key: ECKey) -> bytes:
        private: Any = key.get_op_key("sign")
        signature = private.sign(msg, ECDSA(self.hash_alg(), deterministic_signing=True))
        size = (key.curve_key_size + 7) // 8
        return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(signature))


_ALGORITHMS: Mapping[str, JWSAlgModel] = {
    "ES256": _Repeatable("ES256", "P-256", 256),
    "ES384": _Repeatable("ES384", "P-384", 384),
    "ES256K": _Repeatable("ES256K", "secp256k1", 256),
    "EdDSA": JWSRegistry.algorithms["EdDSA"],
    "Ed25519": JWSRegistry.algorithms["Ed25519"],
}


class _Signatures(JWSRegistry):
    """What keys of ours sign with, and without joserfc's warning about the name EdDSA.

    RFC 9864 deprecates that name, and joserfc warns at every use; but the verifiers in the field
    know no other, so it is what a credential must carry (F2).
    """

    max_payload_length = MAX_TOKEN_CHARS
    max_header_length = 4 * 1024
    """A DID may have 2,048 characters, and a kid two of them."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in _ALGORITHMS:
            raise UnsupportedAlgorithmError(f"Algorithm of '{name}' is not allowed")
        return _ALGORITHMS[name]


_REGISTRY = _Signatures()


def sign(
    payload: dict[str, Any],
    key: PrivateKey,
    key_id: str,
    *,
    algorithm: str | None = None,
    typ: str | None = "vc+jwt",
    cty: str | None = "vc",
) -> str:
    """`payload` as a compact JWS; `key_id` is the key's absolute DID URL.

    The header is alg, typ and cty (None: left out) and kid. The same payload and key give the
    same bytes, for every type of key. Raises CredentialError `credential_too_large` above 256 KiB,
    KeyTypeRefused when `algorithm` (None: the key's own) is none of the key's (F1).
    """
    public = key.as_dict(private=False)
    chosen = algorithm or algorithm_of(public)
    if chosen not in algorithms_of(public):
        raise CredentialError("key_type_not_supported", f"This key does not sign with {chosen}.")
    header = {"alg": chosen, "typ": typ, "cty": cty, "kid": key_id}
    protected = {name: value for name, value in header.items() if value is not None}
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode()
    # Before signing: joserfc would refuse it in words of its own.
    if len(body) * 4 // 3 > MAX_TOKEN_CHARS:
        raise _too_large(len(body) * 4 // 3)
    token = jws.serialize_compact(protected, body, key, registry=_REGISTRY)
    if len(token) > MAX_TOKEN_CHARS:
        raise _too_large(len(token))
    return token


def _too_large(chars: int) -> CredentialError:
    return CredentialError(
        "credential_too_large",
        f"The credential has {chars} characters; at most {MAX_TOKEN_CHARS} are allowed.",
    )
