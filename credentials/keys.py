"""Types of signing keys: how they are made, and the algorithms that fit them (F1, F2).

What a key may be used for follows from the key and from nothing a token says about itself.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from joserfc.jwk import ECKey, OKPKey, thumbprint

from credentials.errors import CredentialError

KeyType = Literal["Ed25519", "P-256", "P-384", "secp256k1"]
KEY_TYPES: Final[tuple[KeyType, ...]] = get_args(KeyType)
DEFAULT_KEY_TYPE: Final[KeyType] = "Ed25519"
Ed25519Name = Literal["EdDSA", "Ed25519"]
"""Two names of one algorithm: RFC 8037's, which every verifier knows, and RFC 9864's."""

PublicJwk = dict[str, str]
"""A public JWK with the members that RFC 7638 needs, and no others."""
PrivateKey = OKPKey | ECKey

_ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "Ed25519": ("EdDSA", "Ed25519"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "secp256k1": ("ES256K",),
}


class KeyTypeRefused(CredentialError):
    """A key of a type nothing is signed with here: `key_type_not_supported`."""


def key_type(name: str) -> KeyType:
    """`name` as a type of key. Raises KeyTypeRefused."""
    for known in KEY_TYPES:
        if name == known:
            return known
    raise KeyTypeRefused(
        "key_type_not_supported",
        f"Keys of type {name[:64]} are not supported; use {', '.join(KEY_TYPES)}.",
    )


def key_type_of(jwk: Mapping[str, Any]) -> KeyType | None:
    """The type of a JWK, public or private; None when it is none that signs here."""
    curve = jwk.get("crv")
    if jwk.get("kty") != ("OKP" if curve == "Ed25519" else "EC"):
        return None
    return next((known for known in KEY_TYPES if curve == known), None)


def algorithms_of(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """The `alg` values with which this key's signatures are accepted; none for other keys."""
    kind = key_type_of(jwk)
    return _ALGORITHMS[kind] if kind else ()


def algorithm_of(jwk: Mapping[str, Any], ed25519: Ed25519Name = "EdDSA") -> str:
    """The `alg` written into what this key signs. Raises KeyTypeRefused."""
    kind = key_type_of(jwk)
    if kind is None:
        raise KeyTypeRefused("key_type_not_supported", "A key of this type does not sign here.")
    return ed25519 if kind == "Ed25519" else _ALGORITHMS[kind][0]


def generate(kind: KeyType) -> PrivateKey:
    """A new private key."""
    if kind == "Ed25519":
        return OKPKey.generate_key("Ed25519")
    return ECKey.generate_key(kind)


def load_private(jwk: Mapping[str, Any]) -> PrivateKey:
    """The private key of a JWK that `PrivateKey.as_dict(private=True)` wrote.

    Raises ValueError, which never repeats the key.
    """
    try:
        loaded = (
            OKPKey.import_key(dict(jwk)) if jwk["kty"] == "OKP" else ECKey.import_key(dict(jwk))
        )
        private = loaded.is_private and loaded.private_key is not None
    except Exception:  # noqa: BLE001 - whatever joserfc raises may speak of the key
        private = False
    if not private or key_type_of(jwk) is None:
        raise ValueError("not a private key of a supported type")
    return loaded


def public_jwk(key: PrivateKey) -> PublicJwk:
    """The public half of a key."""
    members = ("kty", "crv", "x", "y")
    jwk = key.as_dict(private=False)
    return {name: str(jwk[name]) for name in members if name in jwk}


def thumbprint_of(jwk: Mapping[str, str]) -> str:
    """The RFC 7638 thumbprint (SHA-256) of a public JWK."""
    return thumbprint({name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk})
