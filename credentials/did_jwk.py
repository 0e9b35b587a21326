"""did:jwk: a public JWK as a DID (G6)."""

import base64
import binascii
from typing import Any, Final

import orjson

from credentials import did_key
from credentials.errors import DidError
from credentials.strict_json import NotJson, load_object

PREFIX: Final = "did:jwk:"
MAX_CHARS: Final = 4_096
"""An RSA-8192 key needs 1,900."""
CONTEXT: Final = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"]
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def encode(jwk: dict[str, Any]) -> str:
    """The did:jwk of a public JWK, members in alphabetical order. Raises DidError."""
    did = PREFIX + base64.urlsafe_b64encode(_dump(jwk)).rstrip(b"=").decode()
    decode(did)
    return did


def decode(did: str) -> dict[str, Any]:
    """The JWK in a did:jwk, as it stands there.

    Raises DidError: `invalidDid` (also for a private key), `methodNotSupported`, and as
    `did_key.encode` does for what is no key.
    """
    if len(did) > MAX_CHARS or not did.isascii():
        raise DidError("invalidDid", f"A did:jwk is ASCII of at most {MAX_CHARS} characters.")
    if not did.startswith(PREFIX):
        code = "methodNotSupported" if did.startswith("did:") else "invalidDid"
        raise DidError(code, "This is not a did:jwk.")
    jwk = _load(did.removeprefix(PREFIX))
    # Whoever published a private key has lost it; nothing signed with it proves anything.
    if not _PRIVATE.isdisjoint(jwk):
        raise DidError("invalidDid", "A did:jwk must not hold a private key.")
    if not all(isinstance(jwk.get(name, ""), str) for name in ("kty", "crv", "x", "y", "n", "e")):
        raise DidError("invalidPublicKey", "A member of the key is not text.")
    did_key.encode(jwk)
    return jwk


def document(did: str) -> dict[str, Any]:
    """The DID document of a did:jwk. Its one key is `#0`, whatever `kid` the JWK names.

    `use: sig` leaves out key agreement; `use: enc`, or a key that cannot sign, leaves only that.
    """
    jwk = decode(did)
    key_id = f"{did}#0"
    signs = jwk.get("use") != "enc" and jwk.get("crv") != "X25519"
    agrees = jwk.get("use") != "sig" and jwk.get("crv") != "Ed25519"
    return {
        "@context": CONTEXT,
        "id": did,
        "verificationMethod": [
            {"id": key_id, "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": jwk}
        ],
        **({relationship: [key_id] for relationship in did_key.SIGNING} if signs else {}),
        **({"keyAgreement": [key_id]} if agrees else {}),
    }


def _load(encoded: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        jwk = load_object(raw)
    except (binascii.Error, NotJson):
        raise DidError("invalidDid", "What follows did:jwk: is not a JWK in base64url.") from None
    if "=" in encoded:
        raise DidError("invalidDid", "What follows did:jwk: is not a JWK in base64url.")
    return jwk


def _dump(jwk: dict[str, Any]) -> bytes:
    return orjson.dumps(jwk, option=orjson.OPT_SORT_KEYS)
